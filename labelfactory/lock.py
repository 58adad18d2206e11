"""Locks between processes, held through a file: one run of a stage at a time, one writer of a folder at a time.

The operating system's flock: the lock ends with the process that holds it, however that ends.
"""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.files import disk_errors, make_folder, remove_leftovers

LOCKS = Path(".labelfactory/locks")
REMEDY = "Wait until it is done, or end that process, and type the same command again."
PROJECT = LOCKS / "project.lock"
"""Held by whoever writes the import, corrections, audits, promotions or params.yaml; its text says who: `COMMAND (process PID)`."""
INPUTS = (Path("data/import"), Path("data/corrections"), Path("data/audits"))
WRITTEN = ("params.yaml", "dvc.lock")
"""Folders, and files of the project's own folder, to which only its holder writes through temporary files."""


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
        DiskError: the file cannot be created.
    """
    with _opened(path) as stream:
        yield _take(stream, wait=wait)


@contextmanager
def project_lock(command: str) -> Iterator[None]:
    """Hold the project for a command that writes what people give it: one writer at a time, others wait and say for whom.

    What such a command reads before it writes must be read inside. A thread that holds the project may ask again. Order where
    several locks are held: project, stages, ledger, outbox. Temporary files of a holder that was killed are removed. On a file
    system without locks, nothing is held.

    Args:
        command: as it is typed, such as `labelfactory import table`, for those who wait.

    Raises:
        DiskError: the folder of the locks cannot be written.
    """
    if _holding.depth:
        _holding.depth += 1
        try:
            yield
        finally:
            _holding.depth -= 1
        return
    make_folder(LOCKS)
    with _opened(PROJECT) as stream:
        try:
            if not _take(stream, wait=False):
                say(f"waiting for {_writer()}, which writes to this project")
                _take(stream, wait=True)
        except OSError:
            yield
            return
        _sign(stream, f"{command} (process {os.getpid()})")
        _holding.depth = 1
        try:
            remove_leftovers(Path(), WRITTEN)
            for folder in INPUTS:
                remove_leftovers(folder)
            remove_leftovers(LOCKS.parent, alone=False)  # others may write there too
            yield
        finally:
            _holding.depth = 0
            _sign(stream, "")


def holds_project() -> bool:
    """Whether this thread holds the project."""
    return _holding.depth > 0


class _Holding(threading.local):
    """How often this thread holds the project."""

    depth = 0


_holding = _Holding()


def _writer() -> str:
    """Who holds the project, as far as they have written it yet."""
    return PROJECT.read_text(encoding="utf-8").strip() or "another command"


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
    with _opened(path) as stream:
        try:
            taken = _take(stream, shared=shared, wait=False)
        except OSError:
            yield
            return
        if not taken:
            raise BusyError(f"{stage}: {_holder(path)} works on it in this folder", REMEDY)
        _sign(stream, str(os.getpid()))
        yield


@contextmanager
def _opened(path: Path) -> Iterator[IO[Any]]:
    """The lock's file, unbuffered. Raises DiskError where it cannot be created."""
    with disk_errors(path):
        stream = path.open("ab+", buffering=0)
    with stream:
        yield stream


def _sign(stream: IO[Any], text: str) -> None:
    """Say in the lock's file who holds it; on a full disk nobody says it, the lock holds all the same."""
    with suppress(OSError):
        stream.truncate(0)
        stream.write(text.encode())


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
