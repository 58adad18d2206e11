"""Entries of the store: folders of files that appear and go as a whole.

data/store/<noun>/<name>/…   a folder's time is that of its last use
Files are hard links to those of the outputs, or of DVC's cache, where the file system has links, else copies: what those hold takes
no room twice. Nobody writes into a file here. All of it may be deleted at any time; then it is computed again.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labelfactory.console import in_bytes, say
from labelfactory.errors import UserError
from labelfactory.files import remove_leftover_folders, temporary_path
from labelfactory.settings.wiring import DATA
from labelfactory.store.limit import is_on, limit

STORE = DATA / "store"
OLD = "old"
"""What a temporary name says of an entry that is being removed."""
COPIES = ((".dvc", "tmp", "exps"), ("data", "tournament", "nodes"))
"""Where the variants of a sweep run, each in a copy of the project, and the stages of a tournament's contenders."""


def store_folder() -> Path:
    """The folder of the store, relative to the current one; in a variant of a sweep or a stage of a tournament the project's."""
    parts = Path.cwd().parts
    for copies in COPIES:
        for i in range(len(parts) - len(copies)):
            if parts[i : i + len(copies)] == copies:
                return Path(*parts[:i]) / STORE
    return STORE


@dataclass(frozen=True)
class Entry:
    """One folder of files.

    Attributes:
        path: the folder.
        own_bytes: of files that nothing else holds; what its removal sets free.
        used: when it was last kept or found, seconds.
    """

    path: Path
    own_bytes: int
    used: float

    @property
    def noun(self) -> str:
        """Whose output it was."""
        return self.path.parent.name

    @classmethod
    def at(cls, path: Path) -> "Entry | None":
        """The entry in a folder; None where another process has removed it."""
        try:
            stats = [file.stat() for file in path.iterdir() if not file.name.startswith(".")]
            return cls(path, sum(s.st_size for s in stats if s.st_nlink == 1), path.stat().st_mtime)
        except OSError:
            return None


def entries(noun: str = "*") -> list[Entry]:
    """All entries of an output, or of every one."""
    found = (Entry.at(path) for path in sorted(store_folder().glob(f"{noun}/[!.]*")) if path.is_dir())
    return [entry for entry in found if entry is not None]


def folder_of(noun: str, name: str) -> Path:
    """Where an entry is, or would be."""
    return store_folder() / noun / name


def names(noun: str) -> list[str]:
    """Names of the entries of an output."""
    try:
        return [path.name for path in (store_folder() / noun).iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def last_used_first(folders: Iterable[Path]) -> list[Path]:
    """Entries by the time of their last use, without those that another process has removed."""
    stamped = []
    for folder in folders:
        with suppress(OSError):
            stamped.append((folder.stat().st_mtime, folder))
    return [folder for _, folder in sorted(stamped, reverse=True)]


def keep(noun: str, name: str, fill: Callable[[Path], None], *, used: float | None = None) -> None:
    """Make an entry, or replace the one of that name. What cannot be kept is said, and costs nothing else.

    Args:
        noun: whose output it is.
        name: of the entry.
        fill: puts its files into an empty folder.
        used: when it was last used, if not now.
    """
    target = folder_of(noun, name)
    new = temporary_path(target)
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        fill(new)
        if used is not None:
            os.utime(new, (used, used))
        remove(target)
        new.rename(target)
    except (OSError, UserError) as error:  # a full disk, or another process that keeps or removes the same
        shutil.rmtree(new, ignore_errors=True)
        if not target.exists():
            _say_not_kept(getattr(error, "strerror", None) or str(error))


@cache
def _say_not_kept(reason: str) -> None:
    """Say it once in a process."""
    say(f"{STORE}: not everything is kept: {reason}")


def link(file: Path, to: Path) -> None:
    """A second name of a file; a copy of it where links are not possible."""
    try:
        os.link(file.resolve(), to)  # DVC's cache may be linked into data/
    except OSError:
        shutil.copyfile(file, to)


def holds(folder: Path, files: Iterable[Path]) -> bool:
    """Whether an entry has files of these names and sizes: its name says what they hold."""
    try:
        return all((folder / file.name).stat().st_size == file.stat().st_size for file in files)
    except OSError:
        return False


def use(folder: Path) -> None:
    """Note that an entry was of use now."""
    with suppress(OSError):
        os.utime(folder)


def remove(folder: Path) -> None:
    """Remove an entry; nothing of it is seen half."""
    old = temporary_path(folder, OLD)
    shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):  # it is not there any more
        folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)


def trim(most: int | None = None, *, dry_run: bool = False) -> list[Entry]:
    """Remove the entries that were used longest ago until the others hold no more by themselves.

    Args:
        most: bytes; by default the limit. At 0 everything goes.
        dry_run: remove nothing.

    Returns:
        What goes.

    Raises:
        UserError: $LABELFACTORY_STORE_GB is not a number.
    """
    store = store_folder()
    if not store.exists():
        return []
    present = entries()
    held = sum(entry.own_bytes for entry in present)
    most = limit(store, held) if most is None else most
    gone = []
    for entry in sorted(present, key=lambda each: each.used):
        if held <= most and most > 0:
            break
        if entry.own_bytes or most == 0:
            held -= entry.own_bytes
            gone.append(entry)
    if not dry_run:
        for entry in gone:
            remove(entry.path)
        remove_abandoned()
    return gone


def remove_abandoned(*, alone: bool = False) -> None:
    """Remove what killed processes left; `alone`: no other process works here, so all of that kind."""
    for folder in store_folder().glob("*"):
        remove_leftover_folders(folder, alone=alone)


def held_in_words() -> str:
    """One phrase: what the store holds, how much of it nothing else holds, and the limit.

    Raises:
        UserError: $LABELFACTORY_STORE_GB is not a number.
    """
    present = entries()
    own = sum(entry.own_bytes for entry in present)
    most = in_bytes(limit(DATA if DATA.exists() else Path(), own)) if is_on() else "0: it is off"
    return f"{STORE} keeps {len(present)} outputs by their keys, {in_bytes(own) if own else '0 MB'} by itself (limit {most})"
