"""An import that extends another: classes at the end of the list, and their tags for images that are here already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from labelfactory.dataset.manifest import Manifest
from sources._batch import Candidate


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


def appended(here: Manifest, new: Manifest) -> Manifest:
    """The manifest with the new images. True masks are needed on neither side.

    Raises:
        DataError: the values of their true masks differ.
    """
    if not any(entry.mask_path for entry in here.entries):  # its masks have no numbers yet
        here = replace(here, mask_ids=new.mask_ids)
    masked = any(entry.mask_path for entry in new.entries)
    return here.appended(new if masked else replace(new, mask_ids=here.mask_ids))
