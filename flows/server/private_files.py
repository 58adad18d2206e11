"""Folders and files for this user alone, such as .labelfactory: what `labelfactory up` keeps in it holds a login and says
which processes `down` ends.

So they are written for their owner alone, and nothing in them is believed that another user could have written.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from labelfactory.errors import UserError
from labelfactory.files import disk_errors, write_whole

FOLDER = Path(".labelfactory")
OWNER_WRITES, OWNER_ONLY = 0o755, 0o700
"""What is left of a folder's permissions: others may look, or may not even look."""
MOST_BYTES = 1 << 20
"""A file of ours has a few lines; a longer one is not read."""


def own_folder(folder: Path = FOLDER, *, allowed: int = OWNER_WRITES) -> Path:
    """Return a folder of this user, created if missing; permissions beyond `allowed` are taken from it.

    Raises:
        UserError: it is a link, no folder, or another user's.
        DiskError: it cannot be created.
    """
    with disk_errors(folder), suppress(FileExistsError):
        folder.mkdir(mode=allowed, exist_ok=False)
    handle = _open_own(folder, os.O_RDONLY | os.O_DIRECTORY, stat.S_ISDIR)
    try:
        os.fchmod(handle, stat.S_IMODE(os.fstat(handle).st_mode) & allowed)
    finally:
        os.close(handle)
    return folder


def read_private(path: Path) -> bytes | None:
    """The content of a file of this user in FOLDER; None if there is none.

    Raises:
        UserError: file or folder is a link or another user's, or another user may write the file, or it is too long.
    """
    if not os.path.lexists(path):
        return None
    os.close(_open_own(path.parent, os.O_RDONLY | os.O_DIRECTORY, stat.S_ISDIR))
    with open(_open_own(path, os.O_RDONLY | os.O_NONBLOCK, stat.S_ISREG), "rb") as stream:
        if os.fstat(stream.fileno()).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise UserError(
                f"{path}: other users may write it",
                f"If its content is right, type `chmod 600 {path}`; else delete it.",
            )
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: longer than anything that `labelfactory up` writes", f"Delete {path}.")
    return content


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, whole or not at all."""
    own_folder(path.parent)
    with write_whole(path, mode=0o600) as temporary:
        temporary.write_text(text, encoding="utf-8")


def open_log(path: Path) -> int:
    """Start a new file that only its owner may read. Returns its descriptor."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)


def _open_own(path: Path, flags: int, is_kind: Callable[[int], bool]) -> int:
    """Open what is not a link and belongs to this user."""
    kind = "folder" if is_kind is stat.S_ISDIR else "file"
    remedy = f"Look at what it is; then remove it, and type the same command again, which makes a new {kind}."
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        problem = f"is a link, not a {kind}" if path.is_symlink() else f"cannot be opened: {error.strerror}"
        raise UserError(f"{path}: {problem}", remedy) from None
    about = os.fstat(handle)
    if is_kind(about.st_mode) and about.st_uid == os.geteuid():
        return handle
    os.close(handle)
    if not is_kind(about.st_mode):
        raise UserError(f"{path}: is not a {kind}", remedy)
    raise UserError(f"{path}: belongs to another user ({about.st_uid})", remedy)
