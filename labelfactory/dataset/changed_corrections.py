"""Change corrections: afterwards the folder has the masks that the table names and none of those that it named before.

.labelfactory/corrections.json: ids of the images whose corrections a command changes, while it does. The next command finishes or
undoes what a killed one began: what the table names stays. Masks of other images are never deleted, so that a table that somebody
restores from a backup finds its own.
"""

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from labelfactory.dataset.corrections import CORRECTIONS, read_corrections
from labelfactory.files import write_json
from labelfactory.names import file_name

CHANGING = Path(".labelfactory/corrections.json")


@contextmanager
def changing(image_ids: Collection[str]) -> Iterator[None]:
    """Write masks and table of these images inside; the caller holds the project.

    Raises:
        DiskError: the disk is full, or the folder is not writable.
    """
    write_json(CHANGING, sorted(image_ids))
    try:
        yield
    finally:
        settle()


def settle() -> None:
    """Delete masks that a command wrote or replaced and that the table does not name; the caller holds the project."""
    try:
        names = {file_name(image_id) for image_id in json.loads(CHANGING.read_text(encoding="utf-8"))}
    except (OSError, ValueError, TypeError):  # no command was interrupted
        return
    kept = {correction.path() for correction in read_corrections().values()}
    for path in CORRECTIONS.glob("*.png"):
        name, digits = path.stem.rpartition(".")[::2]
        if name in names and re.fullmatch("[0-9a-f]{16}", digits) and path not in kept:
            path.unlink(missing_ok=True)
    CHANGING.unlink(missing_ok=True)
