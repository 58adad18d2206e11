"""Atomic writes: a temporary file beside the target, flushed to the disk, then renamed."""

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from labelfactory.errors import UserError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


class DiskError(UserError):
    """A disk is full, or a folder is not writable."""


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
    return None


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it replaces `path` on success and is deleted on an error.

    A kill at any moment leaves either the old file or the new one.

    Raises:
        DiskError: the disk is full, or the folder is not writable. The old file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except UserError:
        raise
    except Exception as error:
        problem = disk_error(path, error)
        if problem is None:
            raise
        raise problem from error
    finally:
        with suppress(OSError):  # nothing was written
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed runs in a folder."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create a folder if it is missing. Raises DiskError where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = disk_error(folder, error)
        if problem is None:
            raise
        raise problem from error


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
