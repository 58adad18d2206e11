"""Temporary files that killed transfers of DVC left: at a remote that is a folder, and among outputs here."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from flows.line.remote_store import Store

TEMPORARY = re.compile(r"\.[A-Za-z0-9_-]{22}\.tmp")
"""Names under which DVC writes a file before it renames it."""
ABANDONED_SECONDS = 3600
"""Nothing is transferred any more into a temporary file that was not written for so long."""


def delete_abandoned(store: Store, *, is_own: bool) -> list[str]:
    """Delete what transfers of this project left that were killed, and may hold anything; gives a line on those that stay.

    Searched are the two folders that a push writes to: what else lies in that of the remote is of others.
    """
    files = [path for folder in (store.root, store.odb.path) for path in temporaries_below(Path(folder))]
    kept = [path for path in files if not (is_own and _abandoned(path))]
    for path in set(files) - set(kept):
        path.unlink(missing_ok=True)
    are = "that may be under way" if is_own else "of this project or another one"
    return [f"{len(kept)} temporary files of transfers {are}"] if kept else []


def temporaries_below(folder: Path, *, deep: bool = True) -> Iterator[Path]:
    """Files in a folder, and with `deep` below it, that DVC names so. A folder that goes meanwhile is no error."""
    for parent, folders, names in os.walk(folder):
        if not deep:
            folders.clear()
        paths = (Path(parent, name) for name in names if TEMPORARY.fullmatch(name))
        yield from (path for path in paths if path.is_file() and not path.is_symlink())


def _abandoned(path: Path) -> bool:
    with suppress(FileNotFoundError):  # its transfer has ended
        return path.stat().st_mtime < time.time() - ABANDONED_SECONDS
    return True
