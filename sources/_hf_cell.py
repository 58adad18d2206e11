"""A picture in a cell of a Hugging Face dataset: its bytes, or a file below the dataset's folder."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.dataset.picture_files import suffix_of
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_PICTURE, FileRefusedError, is_inside, read_file
from sources._hf_piece import Piece
from sources._named_file import named_file


def forget() -> None:
    """Read all files again, which may have changed."""
    _values.cache_clear()


@dataclass(frozen=True)
class ImageCell:
    """An image of a dataset, read on demand."""

    piece: Piece
    column: str
    row: int
    root: Path

    def load(self) -> bytes:
        """Its bytes, or those of the file that it names below the dataset's folder."""
        data, stated = self._stated()
        if isinstance(data, bytes):
            if len(data) > LARGEST_PICTURE:
                raise DataError(f"larger than {LARGEST_PICTURE // 2**20} MiB")
            return data
        if not isinstance(stated, str) or not stated:
            raise DataError("there is no image in this row")
        try:
            return read_file(self._path(stated))
        except FileRefusedError as error:
            raise DataError(f"the row has no bytes, and {stated!r}: {error.reason}; {self._remedy}") from None

    def file(self) -> Path | None:
        """The file of a picture in a folder of pictures, which is not copied; None if there is none, or it is not readable."""
        stated = self._stated()[1] if self.piece.made is not None else None
        try:
            path = self._path(stated) if isinstance(stated, str) and stated else None
        except DataError:  # `load` says it again
            return None
        return path if path and path.is_file() else None

    def _path(self, stated: str) -> Path:
        """The file that a name means, from the dataset's folder or from that of its table."""
        paths = [path for folder in (self.root, self.piece.path.parent) if (path := self._below(folder, stated))]
        if not paths:
            raise DataError(f"{stated!r} is outside of {self.root}; {self._remedy}")
        return next((path for path in paths if path.exists()), paths[0])

    @property
    def _remedy(self) -> str:
        return f"put the files below {self.root}, or save the dataset again with `save_to_disk`, which packs them in"

    def _below(self, folder: Path, stated: str) -> Path | None:
        """The file below a folder that a name means; None if that is outside of the dataset's folder."""
        name = named_file(folder, stated)
        return folder / name if name is not None and is_inside(folder / name, self.root) else None

    def _stated(self) -> tuple[Any, Any]:
        """Bytes and path."""
        try:
            cell = _values(self.piece, self.column)[self.row].as_py()
        except (ArithmeticError, LookupError, ValueError, pa.ArrowException):  # values that Python cannot hold
            cell = None
        return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)

    def is_empty(self) -> bool:
        """Whether there is none: not every photograph has a mask."""
        return not any(self._stated())

    def suffix(self) -> str:
        """The suffix by the content, since a dataset need not state it."""
        try:
            return suffix_of(self.load())
        except DataError:  # the inspection reports the problem
            return ".img"


@lru_cache(maxsize=4)
def _values(piece: Piece, column: str) -> pa.ChunkedArray:
    return piece.table([column]).column(column)
