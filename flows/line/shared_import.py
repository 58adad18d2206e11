"""The import that machines share: what each has changed since they last agreed is brought together, image by image.

.labelfactory/last_shared.json says what this folder last sent or took: of each image a digest of its id and one of what the
manifest says of it, no ids, since withdrawn images must not be named there.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_json
from labelfactory.errors import DataError
from labelfactory.files import make_folder, write_json
from labelfactory.json_files import read_json

LAST_SHARED = Path(".labelfactory/last_shared.json")
SHOWN = 5
DIGITS = 24
"""Of a digest, which need not withstand an attack here."""


class _Agreed(BaseModel):
    """What this folder and the remote last agreed on; empty where nothing is known."""

    classes: str = ""
    images: dict[str, str] = {}


def note_agreed(manifest: Manifest) -> None:
    """Write down what this folder sent or took."""
    make_folder(LAST_SHARED.parent)
    images = {_name(entry): _said(entry) for entry in manifest.entries}
    write_json(LAST_SHARED, {"classes": _classes(manifest), "images": images})


def brought_together(here: Manifest, there: Manifest) -> Manifest:
    """The shared import with what was added, changed or removed here since.

    Args:
        here: this folder's import.
        there: the pushed one.

    Raises:
        DataError: both sides have changed an image, or the classes, in different ways.
    """
    agreed = _agreed()
    classes = there
    if _classes(here) != _classes(there) and _classes(here) != agreed.classes:
        if _classes(there) != agreed.classes:
            names = (", ".join(manifest.classes.names) for manifest in (here, there))
            raise _conflict("this folder's import and the pushed one have other classes: {}; {}".format(*names))
        classes = here
    ours, theirs = _by_name(here), _by_name(there)
    kept: list[Entry] = []
    clashing: list[str] = []
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        own, other, before = ours.get(name), theirs.get(name), agreed.images.get(name)
        if _said(own) in (_said(other), before):
            kept += [other] if other else []
        elif _said(other) == before:
            kept += [replace(own, position=other.position if other else -1)] if own else []
        else:
            clashing.append((own or other).image_id)  # type: ignore[union-attr]
    if clashing:
        raise _conflict(f"changed here and, in another way, on another machine: {shown(clashing)}")
    return replace(classes, entries=tuple(kept)).numbered()


def lacking(here: Manifest, there: Manifest) -> list[str]:
    """Ids of the images that the shared import has in another way, once what was changed here is in it.

    Raises:
        DataError: as `brought_together`.
    """
    ours = {entry.image_id: _said(entry) for entry in here.entries}
    together = {entry.image_id: _said(entry) for entry in brought_together(here, there).entries}
    return sorted(
        image_id for image_id in ours.keys() | together.keys() if ours.get(image_id) != together.get(image_id)
    )


def shown(ids: list[str]) -> str:
    """The first of some ids, for a message."""
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def _conflict(problem: str) -> DataError:
    remedy = "`labelfactory pull --give-up` takes what was pushed, `labelfactory push --give-up` sends what is here."
    return DataError(problem, remedy)


def _agreed() -> _Agreed:
    try:
        found: _Agreed = read_json(LAST_SHARED, _Agreed, "")
    except DataError:
        return _Agreed()
    return found


def _by_name(manifest: Manifest) -> dict[str, Entry]:
    return {_name(entry): entry for entry in _kept(manifest.entries)}


def _kept(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    return withdrawn().kept(tuple(entries))


def _name(entry: Entry) -> str:
    return digest_json(entry.image_id)[:DIGITS]


def _said(entry: Entry | None) -> str | None:
    """A digest of what the manifest says of an image, but for paths and the position, which differ between machines."""
    if entry is None:
        return None
    said = [entry.image_id, entry.sha256, entry.mask_sha256, sorted(entry.lists), sorted(entry.tags)]
    return digest_json(said)[:DIGITS]


def _classes(manifest: Manifest) -> str:
    return digest_json([list(manifest.classes.names), sorted(manifest.mask_ids.items())])[:DIGITS]
