"""Locks between processes, held through a file: one run of a stage at a time, one writer of a folder at a time.

The operating system's flock: the lock ends with the process that holds it, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from labelfactory.errors import UserError
from labelfactory.files import make_folder

LOCKS = Path(".labelfactory/locks")
REMEDY = "Wait until it is done, or end that process, and type the same command again."


class BusyError(UserError):
    """Another process holds the lock."""


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a file, which is created if missing. Yields whether it was taken.

    Args:
        path: the file; its folder must exist.
        wait: wait while another process holds the lock; otherwise yield False then.

    Raises:
        OSError: the file system has no locks.
    """
    with path.open("a+", encoding="utf-8") as stream:
        yield _take(stream, wait=wait)


@contextmanager
def stage_lock(stage: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a stage of this folder: two runs of one output would overwrite each other's temporary files.

    On a file system without locks, the stage runs unlocked.

    Args:
        stage: its name.
        shared: allow other holders that also ask for a shared lock (they work on other shards).

    Raises:
        BusyError: another process holds it.
    """
    make_folder(LOCKS)
    path = LOCKS / f"{stage}.lock"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            taken = _take(stream, shared=shared, wait=False)
        except OSError:
            yield
            return
        if not taken:
            raise BusyError(f"{stage}: {_holder(path)} works on it in this folder", REMEDY)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _take(stream: IO[Any], *, shared: bool = False, wait: bool) -> bool:
    """Lock an open file until it is closed; False where another process holds the lock."""
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """The process that holds the lock, if it has written its pid yet."""
    pid = path.read_text(encoding="utf-8").strip()
    return f"the process {pid}" if pid.isdigit() else "another process"
