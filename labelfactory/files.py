"""Atomic writes: a temporary file beside the target, flushed to the disk, then renamed.

A temporary file is called `.<name>.<machine>-<process>.<kind>.labelfactory.tmp`. No other program names files so, and what has
such a name may be deleted once its process has ended. `.dvcignore` leaves all `.*.tmp` out.
"""

import csv
import errno
import json
import os
import platform
import re
import secrets
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from labelfactory.console import say
from labelfactory.digests import digest_bytes
from labelfactory.environment import replaceable_in
from labelfactory.errors import UserError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FULL_IN_WORDS = ("No space left on device", "database or disk is full")
FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
"""What a file system says that has no hard links."""
IN_THE_WAY = frozenset(
    {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO, errno.EBUSY}
)
REMEDIES = {
    **dict.fromkeys(IN_THE_WAY, "Move away what is there, or name another place."),
    errno.ENAMETOOLONG: "Give it a shorter name.",
    errno.EFBIG: "Allow larger files (`ulimit -f unlimited`), or name a place on another disk.",
}
"""What mends a place where nothing can be written, though its disk has space and its folder is writable."""
ENDING = "labelfactory.tmp"
LONGEST = 200
"""Bytes of a name that its temporary name repeats."""
FORM = re.compile(
    rf"\.(?P<name>.+)\.(?P<machine>[0-9a-f]{{8}})-(?P<process>[0-9]{{1,9}})(?:\.(?P<kind>[0-9a-z]+))?\.{re.escape(ENDING)}",
    re.DOTALL,
)
"""Names that `temporary_path` gives."""


class DiskError(UserError):
    """A disk is full, a folder is not writable, or a place is none for a file."""


class TakenError(DiskError):
    """A file is where another was to be written."""


def disk_error(path: Path, error: BaseException) -> DiskError | None:
    """The error for a failed write whose cause is the disk, which libraries report in many ways; None for another cause."""
    number = getattr(error, "errno", None)
    full = number in FULL or any(words in str(error) for words in FULL_IN_WORDS)
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
def write_whole(path: Path, *, over: bool = True, mode: int = 0o666) -> Iterator[Path]:
    """Yield the path of a new empty file; it becomes `path` on success and is deleted on an error.

    A kill at any moment leaves either the old file or the new one. It is written where it is, by its name or, where other users
    could put a link in its place, by a path that leads to its descriptor.

    Args:
        path: of the file.
        over: replace what is there.
        mode: permissions of the file, less the umask.

    Raises:
        DiskError: the disk is full, or nothing can be written there. The old file is unchanged.
        TakenError: something is there, and `over` is False.
    """
    temporary = temporary_path(path, secrets.token_hex(8))  # nobody foretells it
    descriptor = -1
    try:
        with disk_errors(path):
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            yield _unmoved(temporary, descriptor)
            os.fsync(descriptor)
            _check_same(temporary, descriptor)
            try:
                if over:
                    temporary.replace(path)
                else:
                    _name_new(temporary, path)
            except FileNotFoundError:
                raise _moved(temporary) from None
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        with suppress(OSError):  # nothing was written
            temporary.unlink(missing_ok=True)
        if descriptor >= 0:
            os.close(descriptor)


@contextmanager
def filled_folder(path: Path) -> Iterator[Path]:
    """Make a folder, and yield a path of it: nobody else can enter it until it is filled, nor put another one in its place.

    Raises:
        OSError: something is there, or it cannot be made.
    """
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        made = os.fstat(descriptor)
        if made.st_uid == os.geteuid():
            os.fchmod(descriptor, 0o700)  # before the look at what is in it: from now on nothing comes
        if made.st_uid != os.geteuid() or os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
            with suppress(PermissionError):
                os.fchmod(descriptor, stat.S_IMODE(made.st_mode))  # it may be another folder of this user
            raise FileExistsError(errno.EEXIST, "another user has put something there", str(path))
        yield _unmoved(path, descriptor)
        os.fchmod(descriptor, stat.S_IMODE(made.st_mode))
    finally:
        os.close(descriptor)


def remove_made(folder: Path, made: os.stat_result | None) -> None:
    """Delete a folder with all that is in it if it is the one that this process made or moved there.

    Names of temporary folders can be foretold: where others can rename, another folder of this user may be there.
    """
    with suppress(FileNotFoundError):
        if made is not None and os.path.samestat(folder.lstat(), made):
            shutil.rmtree(folder, ignore_errors=True)


def _unmoved(path: Path, descriptor: int) -> Path:
    """A path of what is open that leads there whatever other users do in the folders that it lies in."""
    opened = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    return path if replaceable_in(path.parent) is None or not opened.exists() else opened


def _check_same(path: Path, descriptor: int) -> None:
    """Check that a path has the file that was written. Raises DiskError."""
    with suppress(FileNotFoundError):
        if os.path.samestat(path.lstat(), os.fstat(descriptor)):
            return
    raise _moved(path)


def _moved(path: Path) -> DiskError:
    return DiskError(f"{path}: somebody has moved it meanwhile", f"Name another place, or `chmod go-w {path.parent}`.")


def _name_new(temporary: Path, path: Path) -> None:
    """Give a file its name unless something has it: a link is refused where a rename would replace, whoever was first."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, *NO_LINKS):
            raise
        if error.errno == errno.EEXIST or os.path.lexists(path):
            raise TakenError(f"{path}: another file is there", "Move it away, or name another place.") from None
        temporary.replace(path)  # the file system has no links


def temporary_path(path: Path, kind: str = "") -> Path:
    """Where this process writes what is to become `path`; `kind` is a word that tells several of them apart."""
    return path.with_name(f".{_part(path.name)}.{_machine()}-{os.getpid()}.{kind + '.' if kind else ''}{ENDING}")


def remove_leftovers(folder: Path, names: Collection[str] = (), *, alone: bool = True) -> None:
    """Delete the temporary files of killed processes; no folders, no links, and no file that `temporary_path` did not name.

    Args:
        folder: where they lie.
        names: of the files that they were to become; none for all.
        alone: no other process writes here now, since the caller holds a lock. Otherwise what a running process writes stays,
            and so does what another machine or another user wrote.

    Raises:
        DiskError: one of them may not be deleted.
    """
    for leftover in leftovers(folder, names, alone=alone):
        with disk_errors(leftover), suppress(FileNotFoundError):
            if stat.S_ISREG(leftover.lstat().st_mode):
                leftover.unlink()


def remove_leftover_folders(folder: Path, names: Collection[str] = (), *, alone: bool = False) -> None:
    """The same for folders that were filled under a `temporary_path`, with all that is in them.

    Where other users can rename what is there, a folder with such a name may be any folder of this user: it stays, which is said,
    unless the caller is `alone`.
    """
    for leftover in leftovers(folder, names, alone=alone):
        if leftover.is_symlink() or not leftover.is_dir():
            continue
        if not alone and replaceable_in(folder) is not None:
            say(
                f"{leftover}: a killed command may have left it; others can rename what is there, so delete it yourself"
            )
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def leftovers(
    folder: Path, names: Collection[str] = (), *, kind: str | None = None, alone: bool = False
) -> Iterator[Path]:
    """Paths of that kind, or of any, that killed processes left in a folder; the rest is as for `remove_leftovers`."""
    parts = {_part(name) for name in names}
    for path in sorted(folder.glob(f".*.{ENDING}")):
        form = FORM.fullmatch(path.name)
        if form is None or kind not in (None, form["kind"]) or (parts and form["name"] not in parts):
            continue
        if alone or _is_abandoned(path, form["machine"], int(form["process"])):
            yield path


def _part(name: str) -> str:
    """What a temporary name says of the name that it stands for: file systems end at 255 bytes."""
    return name if len(os.fsencode(name)) <= LONGEST else digest_bytes(os.fsencode(name))


def _is_abandoned(path: Path, machine: str, process: int) -> bool:
    """Whether a process of this user on this machine left this path and has ended."""
    try:
        if machine != _machine() or path.lstat().st_uid != os.geteuid():
            return False
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it runs as another user, or the path has gone
        return False
    return process == os.getpid()  # of an earlier process of the same number, as in a container that is started again


@cache
def _machine() -> str:
    """Eight hexadecimal digits for this machine: a folder may be shared by several."""
    return digest_bytes(os.fsencode(platform.node()))[:8]


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
