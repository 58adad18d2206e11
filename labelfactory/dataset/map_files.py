"""Maps of photographs that another program made: grey images below data/import/maps, an input that the line reads only.

Names of these files follow from image ids, which anybody may have typed: nothing outside the folder is read, and no link is
followed.
"""

import stat
from collections.abc import Iterator
from pathlib import Path, PurePath, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.picture_files import opened_picture
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import read_file

MAPS = Path("data/import/maps")


def ids_in_name(name: PurePath) -> Iterator[str]:
    """The ids that the name of a map may mean, longest first: a map belongs to the longest id that it ends with.

    >>> list(ids_in_name(PurePath("saliency/image-1.png")))
    ['saliency/image-1', 'image-1']
    """
    parts = PurePosixPath(name.with_suffix("")).parts
    yield from ("/".join(parts[start:]) for start in range(len(parts)))


def map_digest(name: PurePath, folder: Path = MAPS) -> str | None:
    """SHA-256 of a map's file; None where there is none. Arguments and errors as for `read_map`."""
    data = _read(name, folder)
    return digest_bytes(data) if data is not None else None


def read_map(name: PurePath, folder: Path = MAPS) -> NDArray[np.uint8] | None:
    """Read a map.

    Args:
        name: of its file, below `folder`.
        folder: of all maps.

    Returns:
        [h, w] uint8; None where there is no such file. 16 bits of grey are scaled to 8.

    Raises:
        DataError: the name leads out of the folder or through a link, or the file is no grey image.
    """
    data = _read(name, folder)
    if data is None:
        return None
    try:
        with opened_picture(data) as opened:
            if opened.mode.startswith("I;16"):
                wide = np.array(opened).astype(np.uint32)
                return ((wide * 255 + 32767) // 65535).astype(np.uint8)
            if opened.mode not in ("L", "1"):
                raise DataError(f"a map must be a grey image, this one is {opened.mode}")
            return np.array(opened.convert("L"), dtype=np.uint8)
    except DataError as error:
        raise DataError(f"{folder / name}: {error.problem}") from None


def _read(name: PurePath, folder: Path) -> bytes | None:
    """The file's bytes; None where there is none."""
    if name.is_absolute() or ".." in name.parts or "\0" in str(name):
        raise DataError(f"{str(name)!r} leads out of {folder}", "Give the image another id, or choose another prior.")
    path = folder / name
    try:
        for each in (path, *path.parents[: len(name.parts) - 1]):
            if each.is_symlink():
                raise DataError(f"{each}: is a link, which is not followed", "Put the file itself there.")
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is not a file", "Put the map itself there.")
        return read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "Mend or remove the file.") from None
