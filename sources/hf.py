"""A Hugging Face dataset on the disk, as `datasets` loads it: from `save_to_disk`, Parquet or Arrow files, or pictures.

    files           a split may be in several, and be named by the README, by files or by folders (sources/_hf_files.py)
    image column    image, img, photo, pixel_values …, or the first of its kind; bytes inside, or paths from DIR
    tag columns     tags, tag, labels, label, classes or class: text, numbers of a ClassLabel, lists of either, or a 0 or 1 for
                    each class; else objects with a category; or, named with --tag-columns, columns of 0 and 1 whose name
                    is the tag. −1 and −100 are no class
    mask            mask, segmentation, annotation or label, if it is a picture: a true mask where the tags are a ClassLabel;
                    pixel value k is its k-th name
    image_id, id    the image id; with the split before it where ids restart in each; else the split and the row's number
    lists           the photograph's lists, as our export writes them; else its split
    pictures        metadata.csv, .jsonl or .parquet with file_name beside them; else the folder is the label

Photographs and masks inside the dataset are written to data/raw/hf/. No library of Hugging Face is needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.dataset.picture_files import suffix_of
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_PICTURE, RAW, FileRefusedError, is_inside, read_file
from labelfactory.names import file_name
from sources._batch import Batch, Candidate
from sources._cells import values_of
from sources._findings import Findings
from sources._hf_card import read_card
from sources._hf_columns import DatasetColumns
from sources._hf_files import SplitFile, find_files
from sources._hf_ids import image_ids
from sources._hf_piece import Piece, pieces_of
from sources._named_file import named_file

HOME = RAW / "hf"


def find_hf(root: Path, *, tag_columns: Sequence[str] = (), list_name: str = "", config: str = "") -> Batch:
    """Find the photographs of a dataset.

    Args:
        root: the folder.
        tag_columns: names of the tag columns; empty for the usual names.
        list_name: put all photographs on this list.
        config: which of the dataset's configurations; empty for its only or default one.

    Raises:
        DataError: there is no dataset, or it has no images or no tags.
    """
    findings = Findings(root)
    _column.cache_clear()  # files of these names may have changed
    tables = _tables(root, find_files(findings, config), tag_columns)
    every = [row for table in tables for row in table.rows]
    classes = tuple(dict.fromkeys(name for table in tables for name in table.columns.classes(every)))
    masked = _say_columns(findings, tables, classes)
    ids = iter(image_ids(findings, [(table.piece.split, row) for table in tables for row in table.rows]))
    candidates: list[Candidate] = []
    for table in tables:
        for number in range(len(table.rows)):
            candidate = _candidate(findings, table, number, next(ids), list_name, masked=masked)
            candidates += [candidate] if candidate else []
    if {c.lists for c in candidates} == {("train",)} and not list_name:
        findings.decisions.append(
            "all photographs are of the split train; --val-fraction 0.2 puts some on the list val"
        )
    return Batch(
        root=root,
        command=f"import hf {root}{f' --config {config}' if config else ''}",
        names=classes,
        candidates=tuple(candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        mask_values=dict(enumerate(classes, 1)) if masked else {},
        decisions=tuple(findings.decisions),
        passed_over=findings.passed_over,
    )


@dataclass(frozen=True)
class _Table:
    """One file, its columns and what they say of each row, beside its pixels."""

    piece: Piece
    columns: DatasetColumns
    rows: Sequence[Mapping[str, Any]]


def _tables(root: Path, files: Sequence[SplitFile], tag_columns: Sequence[str]) -> list[_Table]:
    """The files of a dataset; how its tags are read depends on all of them."""
    tables = []
    for piece in pieces_of(root, files, read_card(root)):
        columns = DatasetColumns.of(piece, tag_columns)
        tables.append(_Table(piece, columns, values_of(str(piece.path), piece.table(columns.described()))))
    every = [row for table in tables for row in table.rows]
    return [_Table(table.piece, table.columns.fitted(every), table.rows) for table in tables]


def _say_columns(findings: Findings, tables: Sequence[_Table], classes: Sequence[str]) -> bool:
    """Whether masks are read; notes how tags and masks were."""
    unnamed = dict.fromkeys(tag.column for table in tables for tag in table.columns.tags if tag.is_unnamed)
    for column in unnamed:
        findings.decisions.append(
            f"the column {column!r} holds numbers without names, which become the names of the classes; "
            f"name them with --rename {classes[0] if classes else 0}=NAME"
        )
    for column in dict.fromkeys(tag.column for table in tables for tag in table.columns.tags if tag.form == "hot"):
        findings.decisions.append(f"the column {column!r} is read as a 0 or 1 for each class")
    mask = next((table.columns.mask for table in tables if table.columns.mask), "")
    named = bool(classes) and not unnamed
    if mask and not named:
        findings.decisions.append(
            f"no true masks: the tags are not numbers of a ClassLabel, which would name the values in the column {mask!r}"
        )
    elif mask:
        findings.decisions.append(f"the column {mask!r} holds the true masks; 1 is {classes[0]!r}")
    return bool(mask) and named


def _candidate(
    findings: Findings, table: _Table, number: int, image_id: str | None, list_name: str, *, masked: bool
) -> Candidate | None:
    """The photograph of one row; None if the row cannot be read, which the findings then say."""
    piece, columns, row, root = table.piece, table.columns, table.rows[number], findings.root
    where = f"{findings.location(piece.path)}, row {number + 1}"
    if image_id is None:
        findings.leave_out("", where, "its image id is not a text or a whole number")
        return None
    tags = columns.tags_of(row)
    if tags is None:
        findings.leave_out(image_id, where, "its tags are not a text, a list or the number of a class")
        return None
    lists = _lists(row, piece, list_name)
    if lists is None:
        findings.leave_out(image_id, where, f"its lists are not a text or a list: {str(row['lists'])[:60]!r}")
        return None
    photograph = _Cell(piece, columns.image, number, root)
    mask = _Cell(piece, columns.mask, number, root) if masked and columns.mask else None
    if mask and mask.is_empty():
        mask = None
    stem = file_name(image_id)
    return Candidate(
        image_id=image_id,
        path=HOME / digest_bytes(root.name.encode())[:8] / f"{stem}{photograph.suffix()}",
        tags=tags,
        lists=lists,
        where=where,
        mask=HOME / digest_bytes(str(root).encode())[:16] / f"masks/{stem}.png" if mask else None,
        photograph_bytes=photograph.load,
        mask_bytes=mask.load if mask else None,
    )


def _lists(row: Mapping[str, Any], piece: Piece, decided: str) -> tuple[str, ...] | None:
    """The lists of one row: the one of the command line, its own (a text is one list), or its split; None if not readable."""
    cell = decided or row.get("lists")
    named = [] if cell is None or cell == "" else [cell] if isinstance(cell, str) else cell
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None
    return tuple(named) or ((piece.split,) if piece.split else ())


@dataclass(frozen=True)
class _Cell:
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
        paths = [path for folder in (self.root, self.piece.path.parent) if (path := self._below(folder, stated))]
        if not paths:
            raise DataError(f"{stated!r} is outside of {self.root}; {self._remedy}")
        path = next((path for path in paths if path.exists()), paths[0])
        try:
            return read_file(path)
        except FileRefusedError as error:
            raise DataError(f"the row has no bytes, and {stated!r}: {error.reason}; {self._remedy}") from None

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
            cell = _column(self.piece, self.column)[self.row].as_py()
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
def _column(piece: Piece, column: str) -> pa.ChunkedArray:
    return piece.table([column]).column(column)
