"""A Hugging Face dataset on the disk: written by `save_to_disk`, or a folder of Parquet files.

    image column    image, img, photo or photograph, or the only one of its kind; bytes inside, or paths from DIR
    tag columns     tags, tag, labels, label, classes or class: text, numbers of a ClassLabel, or lists of either;
                    or, named with --tag-columns, columns of 0 and 1 whose name is the tag
    mask            read as a true mask where the tags are a ClassLabel: pixel value k is its k-th name
    image_id, id    the image id; without it the split and the row's number
    lists           the photograph's lists, as our export writes them; else its split

Photographs and masks inside the dataset are written to data/raw/hf/. No library of Hugging Face is needed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.dataset.picture_files import suffix_of
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_PICTURE, LARGEST_TABLE, RAW, FileRefusedError, is_inside, read_file
from labelfactory.names import file_name
from sources._batch import Batch, Candidate
from sources._cells import id_of_cell, values_of
from sources._findings import Findings
from sources._folder_names import list_of
from sources._hf_columns import MASK, DatasetColumns, Piece

HOME = RAW / "hf"


def find_hf(root: Path, *, tag_columns: Sequence[str] = (), list_name: str = "") -> Batch:
    """Find the photographs of a dataset.

    Args:
        root: the folder.
        tag_columns: names of the tag columns; empty for the usual names.
        list_name: put all photographs on this list.

    Raises:
        DataError: there is no dataset, or it has no images or no tags.
    """
    findings = Findings(root)
    _column.cache_clear()  # files of these names may have changed
    pieces = list(_pieces(root))
    if not pieces:
        raise DataError(
            f"{root}: contains no dataset", "Name a folder that `save_to_disk` wrote, or one of Parquet files."
        )
    candidates: list[Candidate] = []
    classes: tuple[str, ...] = ()
    masked = False
    for piece in pieces:
        columns = DatasetColumns.of(piece, tag_columns)
        classes = classes or columns.classes()
        has_masks = columns.mask and bool(classes)
        masked = masked or has_masks
        for number, row in enumerate(values_of(str(piece.path), piece.table(columns.described()))):
            candidate = _candidate(root, piece, columns, number, row, findings, list_name, masked=has_masks)
            candidates += [candidate] if candidate else []
    return Batch(
        root=root,
        command=f"import hf {root}",
        names=classes,
        candidates=tuple(candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        mask_values=dict(enumerate(classes, 1)) if masked else {},
    )


def _candidate(
    root: Path,
    piece: Piece,
    columns: DatasetColumns,
    number: int,
    row: Mapping[str, Any],
    findings: Findings,
    list_name: str,
    *,
    masked: bool,
) -> Candidate | None:
    """The photograph of one row; None if the row cannot be read, which the findings then say."""
    where = f"{piece.path.name}, row {number + 1}"
    stated = [id_of_cell(row.get(name)) for name in ("image_id", "id")]
    if None in stated:
        findings.leave_out("", where, "its image id is not a text or a whole number")
        return None
    image_id = next(filter(None, stated), f"{piece.split or 'row'}-{number:06d}")
    tags = columns.tags_of(row)
    if tags is None:
        findings.leave_out(image_id, where, "its tags are not a text, a list or the number of a class")
        return None
    lists = _lists(row, piece, list_name)
    if lists is None:
        findings.leave_out(image_id, where, f"its lists are not a text or a list: {str(row['lists'])[:60]!r}")
        return None
    photograph = _Cell(piece, columns.image, number, root)
    stem = file_name(image_id)
    return Candidate(
        image_id=image_id,
        path=HOME / digest_bytes(root.name.encode())[:8] / f"{stem}{photograph.suffix()}",
        tags=tags,
        lists=lists,
        where=where,
        mask=HOME / digest_bytes(str(root).encode())[:16] / f"masks/{stem}.png" if masked else None,
        photograph_bytes=photograph.load,
        mask_bytes=_Cell(piece, MASK, number, root).load if masked else None,
    )


def _lists(row: Mapping[str, Any], piece: Piece, decided: str) -> tuple[str, ...] | None:
    """The lists of one row: the one of the command line, its own (a text is one list), or its split; None if not readable."""
    cell = decided or row.get("lists")
    named = [] if cell is None or cell == "" else [cell] if isinstance(cell, str) else cell
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None
    return tuple(named) or ((piece.split,) if piece.split else ())


def _pieces(root: Path) -> Iterator[Piece]:
    """The files of a dataset, by split."""
    if (root / "dataset_dict.json").is_file():
        for name in _texts(_json(root / "dataset_dict.json").get("splits", [])):
            for piece in _saved(root / Path(name).name):
                yield Piece(piece, list_of(name) or name)
    elif (root / "state.json").is_file():
        for piece in _saved(root):
            yield Piece(piece, "")
    elif root.is_dir():
        for path in sorted(root.rglob("*.parquet")):
            word = re.match(r"[A-Za-z]+", path.name)
            name = word.group().lower() if word else ""
            yield Piece(path, list_of(name))


def _saved(folder: Path) -> Iterator[Path]:
    files = _json(folder / "state.json").get("_data_files")
    listed = [item.get("filename") for item in files if isinstance(item, dict)] if isinstance(files, list) else []
    for name in _texts(listed):
        yield folder / Path(name).name


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}", "Save the dataset again.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not readable: {error}", "Save the dataset again.") from None
    return loaded if isinstance(loaded, dict) else {}


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str) and value] if isinstance(values, list) else []


@dataclass(frozen=True)
class _Cell:
    """An image of a dataset, read on demand."""

    piece: Piece
    column: str
    row: int
    root: Path

    def load(self) -> bytes:
        """Its bytes."""
        try:
            cell = _column(self.piece, self.column)[self.row].as_py()
        except (ArithmeticError, LookupError, ValueError, pa.ArrowException):  # values that Python cannot hold
            cell = None
        data, stated = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
        if isinstance(data, bytes):
            if len(data) > LARGEST_PICTURE:
                raise DataError(f"larger than {LARGEST_PICTURE // 2**20} MiB")
            return data
        if not isinstance(stated, str) or not stated:
            raise DataError("there is no image in this row")
        path = self.root / stated
        if not is_inside(path, self.root):
            raise DataError(f"{stated!r} is outside of {self.root}")
        try:
            return read_file(path)
        except FileRefusedError as error:
            raise DataError(f"{stated!r}: {error.reason}") from None

    def suffix(self) -> str:
        """The suffix by the content, since a dataset need not state it."""
        try:
            return suffix_of(self.load())
        except DataError:  # the inspection reports the problem
            return ".img"


@lru_cache(maxsize=4)
def _column(piece: Piece, column: str) -> pa.ChunkedArray:
    return piece.table([column]).column(column)
