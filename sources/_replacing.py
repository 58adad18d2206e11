"""What an import without --append takes out of the project."""

from labelfactory.dataset.audits import read_audits, read_points
from labelfactory.dataset.corrections import CORRECTIONS, read_corrections
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.dataset.prepared import IMAGES
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError

SHOWN = 3
TRIAL = 50
"""Images of the smallest import that is no trial, whatever was made of it."""


def lost_images(old: Manifest, new: Manifest) -> tuple[Entry, ...]:
    """The images of `old` that `new` has not: neither the same bytes nor the same file under their id.

    The same file is one that the user keeps, and may have edited: files that an import unpacks have their digest in the name.
    Withdrawn ones are not lost, as they may not come back.
    """
    kept = {entry.image_id: entry for entry in new.entries}
    gone = withdrawn()

    def stays(entry: Entry) -> bool:
        again = kept.get(entry.image_id)
        return again is not None and (again.sha256 == entry.sha256 or again.path == entry.path)

    return tuple(e for e in old.entries if not stays(e) and not gone.refuses(e.image_id, e.sha256))


def loss(old: Manifest, new: Manifest, lost: tuple[Entry, ...]) -> str:
    """The counts of both, and how many images go, in one phrase."""
    names = ", ".join(entry.image_id for entry in lost[:SHOWN]) + (", …" if len(lost) > SHOWN else "")
    return (
        f"this project has {len(old.entries)} images ({old.source}), the import has {len(new.entries)}: "
        f"{len(lost)} of those here would go ({names})"
    )


def refuse_loss(old: Manifest, new: Manifest, lost: tuple[Entry, ...]) -> None:
    """Refuse an import that takes images out of the project, unless what is here is a small import that nothing was made of.

    Raises:
        DataError: with both counts, and how many would go.
    """
    if lost and not _is_trial(old):
        raise DataError(
            loss(old, new, lost),
            "Add --append to keep all of them, or --replace to let these go (outputs stay in DVC's cache); "
            "`labelfactory new DIR` makes a folder for another data set.",
        )


def _is_trial(old: Manifest) -> bool:
    """Whether an import is so small that it costs nothing to repeat, and no stage and no person has worked on it."""
    worked = read_corrections(CORRECTIONS) or read_audits() or read_points()
    return len(old.entries) < TRIAL and not IMAGES.exists() and not worked
