"""Change masks that people drew: afterwards a folder has those that its table names and none of those that it named before.

.labelfactory/corrections.json, .labelfactory/audits.json: ids of the images whose masks a command changes, while it does. The
next command finishes or undoes what a killed one began: what the table names stays. Masks of other images are never deleted, so
that a table that somebody restores from a backup finds its own.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labelfactory.dataset.audits import AUDITS, read_audits
from labelfactory.dataset.corrections import CORRECTIONS, Correction, read_corrections
from labelfactory.files import write_json
from labelfactory.names import file_name


@dataclass(frozen=True)
class DrawnMasks:
    """A folder of masks that people drew, with its table.

    Attributes:
        folder: of the masks.
        note: of what a command changes.
        read: what the table names.
    """

    folder: Path
    note: Path
    read: Callable[[], Mapping[str, Correction]]


CORRECTED = DrawnMasks(CORRECTIONS, Path(".labelfactory/corrections.json"), read_corrections)
AUDITED = DrawnMasks(AUDITS, Path(".labelfactory/audits.json"), read_audits)


@contextmanager
def changing(image_ids: Collection[str], masks: DrawnMasks = CORRECTED) -> Iterator[None]:
    """Write masks and table of these images inside; the caller holds the project.

    Raises:
        DiskError: the disk is full, or the folder is not writable.
    """
    write_json(masks.note, sorted(image_ids))
    try:
        yield
    finally:
        settle(masks)


def settle(masks: DrawnMasks = CORRECTED) -> None:
    """Delete masks that a command wrote or replaced and that the table does not name; the caller holds the project."""
    try:
        names = {file_name(image_id) for image_id in json.loads(masks.note.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):  # no command was interrupted
        return
    kept = {mask.path(masks.folder) for mask in masks.read().values()}
    for path in masks.folder.glob("*.png"):
        name, digits = path.stem.rpartition(".")[::2]
        if name in names and re.fullmatch("[0-9a-f]{16}", digits) and path not in kept:
            path.unlink(missing_ok=True)
    masks.note.unlink(missing_ok=True)
