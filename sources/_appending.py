"""An import that extends another: classes at the end of the list, and their tags for images that are here already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from sources._batch import Candidate
from sources._stored_path import stored

LOOKED_AT = 20
"""True masks of a source that are held against those that are here."""


def with_new_tags(here: Manifest, again: Mapping[str, Candidate], added: Sequence[str]) -> tuple[Manifest, list[str]]:
    """The manifest, where images that the source names again get its tags of the added classes; and what to say of it.

    Args:
        here: the manifest on the disk.
        again: the photographs that are here, by id, as the source has them now.
        added: classes.
    """
    if not added:
        return here, []
    entries, changed = [], 0
    for entry in here.entries:
        tags = set(again[entry.image_id].tags) & set(added) if entry.image_id in again else set()
        if tags - set(entry.tags):
            entry, changed = replace(entry, tags=tuple(sorted({*entry.tags, *tags}))), changed + 1
        entries.append(entry)
    decision = (
        f"{', '.join(added)}: added after the classes that are here; {changed} of {len(entries)} images that are here get "
        f"tags of {'it' if len(added) == 1 else 'them'}, the others count as photographs without"
    )
    return replace(here, entries=tuple(entries)), [decision]


def appended(here: Manifest, new: Manifest, again: Mapping[str, Candidate]) -> Manifest:
    """The manifest with the new images, and with the values of new classes in true masks. Those are needed on neither side.

    Args:
        here: the manifest on the disk.
        new: of the import; without new images its values hold for the masks that are here if the source has these masks.
        again: the photographs that are here, by id, as the source has them now.

    Raises:
        DataError: the values of their true masks differ.
    """
    if not any(entry.mask_path for entry in here.entries):  # its masks have no numbers yet
        here = replace(here, mask_ids=new.mask_ids)
    masked = any(entry.mask_path for entry in new.entries)
    more = not masked and here.classes != new.classes and here.is_numbered_as(new) and _has_these_masks(here, again)
    return here.appended(new if masked or more else replace(new, mask_ids=here.mask_ids))


def _has_these_masks(here: Manifest, again: Mapping[str, Candidate]) -> bool:
    """Whether a source has the true masks that are here; a few of them tell it."""
    pairs = [(e, again[e.image_id]) for e in here.entries if e.mask_path and e.image_id in again]
    return any(_is_mask_of(e, candidate) for e, candidate in [pair for pair in pairs if pair[1].mask][:LOOKED_AT])


def _is_mask_of(entry: Entry, candidate: Candidate) -> bool:
    if candidate.mask and not candidate.mask_bytes and stored(candidate.mask) == entry.mask_path:
        return True
    try:
        return digest_bytes(candidate.read_mask() or b"") == entry.mask_sha256
    except DataError:
        return False
