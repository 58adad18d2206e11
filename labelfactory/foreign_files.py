"""Files that others name or send: which paths may be read, written and deleted, and how a file is read.

A path in a manifest, a table, a lock file or an archive is only a claim. `check_path` answers for all of them:

    read            inside the folder that the user named, the project, or data/raw, links followed. A path of a manifest
                    outside of the project is what the user imported; it names the file itself, not a link.
    write, delete   below data/raw, where the program keeps photographs and masks; nothing else, and by the name of a picture.
                    No ledger, no record, no code.

`read_file` reads regular files alone, and their size is checked before: never a FIFO, a device or a socket.

`photographs_below` lists the photographs of a folder that people filled: what systems and other programs leave there is none.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import Literal

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError

RAW = Path("data/raw")
"""The folder of photographs and masks that the program itself writes: fetched, unpacked, drawn or pulled."""

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
}
"""Formats of photographs, as Pillow calls them, and the suffixes of their files. No other format is decoded."""
PHOTOGRAPHS = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)

CONVERTED = frozenset(
    [".heic", ".heif", ".hif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"]
)
"""Suffixes of photographs that are not read: their formats need decoders that Pillow does not have, or are a camera's own."""

RUBBISH = frozenset(
    (
        *("@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information"),
        *("__macosx", "__pycache__", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
    )
)
"""Folders and files that Windows, macOS and network disks leave among photographs, in small letters."""

LARGEST_PICTURE = 512 * 2**20
"""Bytes of a photograph or mask; a larger file is not read."""
LARGEST_TABLE = 4 * 2**30
"""Bytes of a table, a list or another file of text."""

LARGEST_OURS = 2**31
"""Bytes of a file that this program wrote; a larger one, which another user may have put there, is none."""

UNLIMITED = 2**63
"""Bytes of a file that is read in parts."""

Use = Literal["read", "write", "delete"]
IMPORT_AGAIN = "Restore the file or import the images again."


class FileRefusedError(DataError):
    """A file is not read, written or deleted; `reason` is the problem without its path."""

    def __init__(self, path: PurePath | str, reason: str, remedy: str = IMPORT_AGAIN) -> None:
        text = str(path)
        super().__init__(f"{text if text.isprintable() else ascii(text)}: {reason}", remedy)
        self.reason = reason


def check_path(path: Path | str, use: Use, *, within: Path | None = None) -> Path:
    """Check a path that comes from a file.

    Args:
        path: relative to the project, or absolute.
        use: what is to be done with the file.
        within: the folder that the user named, if the path is from a file about that folder.

    Returns:
        The path.

    Raises:
        FileRefusedError: that use of the path is not allowed.
    """
    if not str(path) or "\0" in str(path):
        raise FileRefusedError(path, "is not a path")
    reason = _not_readable(Path(path), within) if use == "read" else _not_writable(Path(path))
    if reason:
        raise FileRefusedError(path, reason)
    return Path(path)


def is_allowed(path: Path | str, use: Use) -> bool:
    """Whether `check_path` allows that use."""
    try:
        check_path(path, use)
    except FileRefusedError:
        return False
    return True


def _not_readable(path: Path, within: Path | None) -> str:
    outside = not Path(os.path.abspath(path)).is_relative_to(Path.cwd())  # noqa: PTH100 - links are not followed
    if within is None and outside:  # what the user typed at the import
        return "is a link; import the images again, which notes the file that it leads to" if path.is_symlink() else ""
    inside = is_inside(path, Path.cwd(), RAW, *([within] if within else []))
    return "" if inside else f"leads out of {within or 'the project'}"


def _not_writable(path: Path) -> str:
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    names = path.parts[len(RAW.parts) :]
    if path.parts[: len(RAW.parts)] != RAW.parts or not names or ".." in names:
        return f"is not below {RAW}/"
    if any(name.startswith(".") for name in names) or path.suffix.lower() not in ("", ".img", *PHOTOGRAPHS):
        return "is not the name of a photograph or mask"
    if not is_inside(path.parent, RAW):
        return f"leads out of {RAW} through a link"
    return "is not a file" if path.is_dir() else ""


def is_inside(path: Path, *folders: Path) -> bool:
    """Whether a path, with every link followed, is in one of the folders; text that cannot be a path is in none."""
    try:
        real = Path(os.path.realpath(path))
    except ValueError:  # a zero byte, half a character
        return False
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def rubbish(path: PurePath) -> str:
    """What systems and other programs leave among photographs, as an import counts it: `@eaDir`, `hidden files`; "" for others.

    Args:
        path: of a file or folder, from the folder that the user named; the folders above that one say nothing.
    """
    for name in path.parts:
        if name.lower() in RUBBISH:
            return name.strip()
        if name.startswith((".", "~$")):  # ._name is what macOS writes beside a file
            return "hidden files"
    return ""


def passed_over(path: PurePath) -> str:
    """As what an import counts a file that is no photograph by its name: `rubbish`, a suffix; "" for a photograph."""
    suffix = path.suffix.lower()
    return rubbish(path) or ("" if suffix in PHOTOGRAPHS else suffix or "no suffix")


def remedy(kinds: Iterable[str]) -> str:
    """How photographs in formats that are not read become readable; "" if there is none among what was passed over."""
    foreign = sorted(set(kinds) & CONVERTED)
    if not foreign:
        return ""
    return f"to take {', '.join(foreign)}: save them as JPEG, for instance `magick mogrify -format jpg *{foreign[0]}`"


def photographs_below(
    folder: Path, counts: Counter[str], *, within: Path | None = None, deep: bool = True
) -> Iterator[Path]:
    """The photographs in a folder and in its folders, by their names and in their order; none is opened.

    Args:
        folder: to be listed. Links to folders are followed, but not in a circle.
        counts: gets the files that are passed over, by `passed_over`; a folder of rubbish counts as one.
        within: the folder that the user named, if it is one above.
        deep: also in its folders.
    """
    named = within or folder
    yield from _below(folder, counts, named, (os.path.realpath(named), os.path.realpath(folder)), deep=deep)


def _below(folder: Path, counts: Counter[str], root: Path, above: tuple[str, ...], *, deep: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root)
        if path.is_dir():
            real = os.path.realpath(path)
            if kind := rubbish(name):
                counts[kind] += 1
            elif deep and real not in above:
                yield from _below(path, counts, root, (*above, real), deep=deep)
        elif kind := passed_over(name) or ("" if path.is_file() else "no regular files"):
            counts[kind] += 1
        else:
            yield path


def check_regular(path: Path, *, largest: int = UNLIMITED) -> None:
    """Check before a library opens a file that it is a regular file and not larger than `largest` bytes.

    Raises:
        FileRefusedError: it is missing, not a regular file, or too large.
    """
    try:
        _check_kind(path, path.stat(), largest)
    except (OSError, ValueError) as error:
        raise FileRefusedError(path, _problem(error)) from None


def read_file(path: Path, *, largest: int = LARGEST_PICTURE) -> bytes:
    """The bytes of a regular file; a link is followed.

    Raises:
        FileRefusedError: it is missing, not readable, not a regular file, or larger than `largest` bytes.
    """
    try:
        _check_kind(path, path.stat(), largest)  # first, as opening a device may have an effect
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:  # noqa: PTH123 - of a descriptor
            state = os.fstat(descriptor)
            _check_kind(path, state, largest)
            return stream.read(state.st_size)
    except (OSError, ValueError) as error:
        raise FileRefusedError(path, _problem(error)) from None


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        FileRefusedError: as `read_file`, or it is not UTF-8.
    """
    try:
        return read_file(path, largest=LARGEST_TABLE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefusedError(path, "not UTF-8 text") from None


def read_imported(path: Path | str, sha256: str) -> bytes:
    """The bytes of a photograph or mask that a manifest names, which are those that were imported.

    Raises:
        FileRefusedError: its path may not be read, as for `check_path`; it cannot be, as for `read_file`; or it has changed.
    """
    data = read_file(check_path(path, "read"))
    if digest_bytes(data) != sha256:
        raise FileRefusedError(
            path, "changed since it was imported", "Type `labelfactory import …` again, then `dvc repro`."
        )
    return data


def _check_kind(path: Path, state: os.stat_result, largest: int) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise FileRefusedError(path, "Is a directory")
    if not stat.S_ISREG(state.st_mode):
        raise FileRefusedError(path, "is not a regular file")
    if state.st_size > largest:
        raise FileRefusedError(path, f"larger than {largest // 2**20} MiB")


def _problem(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "not readable"
