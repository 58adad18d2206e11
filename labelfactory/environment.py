"""Numbers from environment variables, all read and refused in the same way; git's, which are not ours; what all projects share."""

import math
import os
import stat
from pathlib import Path
from typing import NoReturn, TypeVar

from labelfactory.errors import UserError

Number = TypeVar("Number", int, float)


GIT = (
    "DIR",
    "WORK_TREE",
    "INDEX_FILE",
    "OBJECT_DIRECTORY",
    "ALTERNATE_OBJECT_DIRECTORIES",
    "COMMON_DIR",
    "PREFIX",
    "NAMESPACE",
)
"""What git's variables of these names say holds for another repository, such as the one whose hook starts this program."""


def without_foreign_git() -> None:
    """Have git, and libraries that use it, find the repository of the folder that they are asked about."""
    for name in GIT:
        os.environ.pop(f"GIT_{name}", None)


def positive(variable: str, default: Number) -> Number:
    """The variable's number, of the type of `default`; `default` where the variable is unset or empty.

    Raises:
        UserError: the value is not a positive number, or not a whole one where `default` is an int.
    """
    number = _number(variable, default)
    if not 0 < number < math.inf:
        _refuse(variable, f"a positive {'whole ' if isinstance(default, int) else ''}number")
    return number


def not_negative(variable: str, default: float) -> float:
    """The variable's number, which may be 0; `default` where the variable is unset or empty.

    Raises:
        UserError: the value is not a number of at least 0.
    """
    number = _number(variable, default)
    if os.environ.get(variable) and not 0 <= number < math.inf:
        _refuse(variable, "0 or a positive number")
    return number


def _number(variable: str, default: Number) -> Number:
    """NaN or -1 where the value is no number at all."""
    value = os.environ.get(variable, "")
    try:
        return type(default)(value) if value else default
    except ValueError:
        return type(default)(-1)


def _refuse(variable: str, what: str) -> NoReturn:
    raise UserError(f"{variable}={os.environ[variable]!r} must be {what}", f"Type `unset {variable}`.")


def cache_folder() -> Path | None:
    """Where projects of this user share what is costly to get: $LABELFACTORY_CACHE, else ~/.cache/labelfactory.

    None for a user without a home.
    """
    if named := os.environ.get("LABELFACTORY_CACHE"):
        return Path(named)
    try:
        return Path.home() / ".cache" / "labelfactory"
    except RuntimeError:
        return None


def own_cache_folder(name: str, *, make: bool = True) -> Path:
    """A folder of the cache that nobody else can write or replace: also where several users share one cache.

    Args:
        name: what is in it.
        make: make it if it is missing.

    Returns:
        Its path without links: what is read there later is what was looked at here.

    Raises:
        OSError: it is missing, cannot be made, or others can write it, or rename a folder above it.
    """
    cache = cache_folder()
    if cache is None:
        raise FileNotFoundError("this user has no home")
    for place in reversed([cache, *cache.parents] if make else []):
        place.mkdir(mode=0o755, exist_ok=True)  # not writable for a group, whatever the umask
    above = cache.resolve()
    folder = above / f"{name}-{os.getuid()}"
    if make:
        folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to other users")
    if (shared := replaceable_in(above)) is not None:
        raise PermissionError(f"other users can replace folders in {shared}; `chmod go-w` of it if it is yours")
    return folder


def replaceable_in(folder: Path) -> Path | None:
    """Where other users can put another file or folder in the place of one of this user's: the folder itself, or one above it.

    None where they can nowhere. Raises OSError where there is no such folder.
    """
    real = folder.resolve(strict=True)
    return next((place for place in (real, *real.parents) if _others_rename_in(place.lstat())), None)


def _others_rename_in(folder: os.stat_result) -> bool:
    """Whether somebody but this user and root can rename folders of theirs in it."""
    if folder.st_uid not in (0, os.getuid()):
        return True
    if folder.st_mode & stat.S_ISVTX:  # as in /tmp: only an owner renames
        return False
    # the group's bits cover those of an access control list too
    return bool(folder.st_mode & (stat.S_IWOTH | stat.S_IWGRP))
