"""One set of bytes for the store and DVC's cache.

DVC writes the files of data/ anew when a stage has ended, so the links of the store lose their other end. What the cache has too is
linked to the cache's file instead, and takes no room of its own as long as that is there.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from labelfactory.console import in_bytes, say
from labelfactory.dvc_cache import cache_folder, cached
from labelfactory.files import temporary_path
from labelfactory.settings.wiring import DATA
from labelfactory.store.entries import STORE, entries, holds, trim
from labelfactory.store.limit import is_on


def share_with_cache() -> None:
    """Link what the store has of the present outputs to DVC's cache, on the same disk."""
    # no cache yet, a disk without links, or another process that removes an entry: it is not tried on
    with suppress(OSError):
        disk = cache_folder().stat().st_dev
        for entry in entries():
            if entry.own_bytes and entry.path.stat().st_dev == disk:
                _share(entry.path)


def share(folder: Path) -> None:
    """The same for one entry."""
    with suppress(OSError):
        _share(folder)


def _share(folder: Path) -> None:
    """Link the files of an entry that are present outputs; the time of its last use stays."""
    used = folder.stat().st_mtime
    for file in folder.glob("[!.]*"):
        if not _is_shared(file) and holds(DATA / folder.parent.name, [file]):
            with file.open("rb") as stream:
                md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            if cached(md5).exists():
                _replace(file, cached(md5))
    os.utime(folder, (used, used))


def _is_shared(file: Path) -> bool:
    """Whether something else holds the file, which is no present output: that is about to be replaced."""
    present = DATA / file.parent.parent.name / file.name
    return file.stat().st_nlink > 1 and not (present.exists() and file.samefile(present))


def _replace(file: Path, by: Path) -> None:
    """Replace a file by a second name of another."""
    temporary = temporary_path(file)
    temporary.unlink(missing_ok=True)
    os.link(by, temporary)
    temporary.replace(file)


def hold_to_limit() -> None:
    """Remove what is over the limit, and say so; nothing where the store is off."""
    if not is_on():
        return
    share_with_cache()
    gone = trim()
    if gone:
        freed = in_bytes(sum(entry.own_bytes for entry in gone))
        say(f"{STORE}: {len(gone)} entries that were used longest ago are gone, {freed}: over its limit")
