"""The zip that an annotation tool exports, unpacked for as long as it is read."""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_PICTURE, LARGEST_TABLE, check_regular, rubbish

READ = (".png", ".json", ".xml", ".txt")
LARGEST_ARCHIVE = 4 * 2**30
"""Bytes of all files together."""
BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError),
    *(RuntimeError, NotImplementedError, ValueError, LookupError, OverflowError),
)
"""What `zipfile` raises on a damaged or encrypted archive."""


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The folder of a zip's masks, tables and JSON files, which is deleted afterwards; any other path as it is.

    Raises:
        DataError: it is not a zip, damaged, too large, or names files outside of its folder.
    """
    if path.is_dir() or path.suffix.lower() != ".zip":
        yield path
        return
    check_regular(path)
    with TemporaryDirectory(prefix="labelfactory-") as folder:
        try:
            _unpack(path, Path(folder))
        except BROKEN as error:
            raise DataError(f"{path}: not a zip that can be read: {error}", "Export it again.") from None
        yield Path(folder)


def _unpack(path: Path, folder: Path) -> None:
    left = LARGEST_ARCHIVE
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            if member.is_dir() or name.suffix.lower() not in READ:
                continue
            if name.is_absolute() or ".." in name.parts:
                raise DataError(f"{path}: {str(name)!r} leads out of its folder", "Export it again.")
            if rubbish(name):
                continue
            largest = min(left, LARGEST_PICTURE if name.suffix.lower() == ".png" else LARGEST_TABLE)
            with archive.open(member) as stream:
                data = stream.read(largest + 1)
            if len(data) > largest:
                raise DataError(f"{path}: {str(name)!r} is too large", "Unpack it, and name the folder.")
            left -= len(data)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
