"""Atomic writes: a temporary file beside the target, flushed to the disk, then renamed."""

import csv
import errno
import glob
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labelfactory.errors import UserError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
IN_THE_WAY = frozenset(
    {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO, errno.EBUSY}
)
REMEDIES = {
    **dict.fromkeys(IN_THE_WAY, "Move away what is there, or name another place."),
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.EFBIG: "Allow larger files (`ulimit -f unlimited`), or name a place on another disk.",
}
"""What mends a place where nothing can be written, though its disk has space and its folder is writable."""


class DiskError(UserError):
    """A disk is full, a folder is not writable, or a place is none for a file."""


def disk_error(path: Path, error: BaseException) -> DiskError | None:
    """The error for a failed write whose cause is the disk, which libraries report in many ways; None for another cause."""
    number = getattr(error, "errno", None)
    full = number in FULL or "No space left on device" in str(error)
    if not full and isinstance(error, RuntimeError):  # torch reports only that writing failed
        full = shutil.disk_usage(path.parent).free < 1 << 16
    if full:
        return DiskError(
            f"{path}: no space is left on its disk",
            "Free some and type the same command again: finished rows are kept.",
        )
    if number in FORBIDDEN:
        reason = os.strerror(number or 0).lower()
        return DiskError(f"{path}: cannot be written: {reason}", f"Make {path.parent} writable for this user.")
    if isinstance(error, OSError) and number in REMEDIES:
        return DiskError(f"{path}: cannot be written: {os.strerror(number).lower()}", REMEDIES[number])
    return None


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn errors of the disk into a DiskError that names this path."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = disk_error(path, error)
        if problem is None:
            raise
        raise problem from error


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` on success and is deleted on an error.

    A kill at any moment leaves either the old file or the new one.

    Raises:
        DiskError: the disk is full, or nothing can be written there. The old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_errors(path):
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        with suppress(OSError):  # nothing was written
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "", *, alone: bool = True) -> None:
    """Delete the temporary files and folders of killed processes.

    Args:
        folder: where they lie.
        name: of the file or folder that they were to become; empty for all.
        alone: no other process writes here now, since the caller holds a lock. Otherwise what a running process writes stays.
    """
    for leftover in folder.glob(f".{glob.escape(name) or '*'}.*tmp"):
        if not alone and _runs(leftover):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _runs(leftover: Path) -> bool:
    """Whether another process may still need this file: it runs, or the file is not one of ours."""
    stated = re.search(r"\.(\d+)(?:\.old)?\.tmp$", leftover.name)
    if stated is None:
        return True
    if int(stated[1]) == os.getpid():
        return False
    try:
        os.kill(int(stated[1]), 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def make_folder(folder: Path) -> None:
    """Create a folder if it is missing. Raises DiskError where it cannot be, as where a file is in its way, or the disk is full."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    make_folder(path.parent)
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV table, whole or not at all: the header, then one line per row of as many values."""
    with write_whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
