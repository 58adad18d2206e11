"""A Hugging Face dataset on the disk, as `datasets` loads it: from `save_to_disk`, Parquet or Arrow files, or pictures.

    files           a split may be in several, and be named by the README, by files or by folders (sources/_hf_files.py)
    image column    image, img, photo, pixel_values …, or the first of its kind; bytes inside, or paths from DIR
    tag columns     tags, tag, labels, label, classes or class: text, numbers of a ClassLabel, lists of either, or a 0 or 1 for
                    each class; else objects with a category; or, named with --tag-columns, columns of 0 and 1 whose name
                    is the tag. −1 and −100 are no class
    mask            mask, segmentation, annotation or label, if it is a picture: a true mask where the tags are a ClassLabel;
                    pixel value k is its k-th name. With --tags-from-masks, id2label.json names the values
    image_id, id    the image id; with the split before it where ids restart in each; else the split and the row's number
    lists           the photograph's lists, as our export writes them; else its split
    pictures        metadata.csv, .jsonl or .parquet with file_name beside them; else the folder is the label

Photographs and masks inside the dataset are written to data/raw/hf/, with a digest of their bytes in their names; a folder of
pictures is not copied. No library of Hugging Face is needed.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import RAW
from labelfactory.names import file_name
from sources._batch import Batch, Candidate
from sources._cells import values_of
from sources._findings import Findings
from sources._hf_card import read_card
from sources._hf_cell import ImageCell, forget
from sources._hf_columns import DatasetColumns
from sources._hf_files import SplitFile, find_files
from sources._hf_ids import image_ids
from sources._hf_mask_tags import MaskTags, names_of_values
from sources._hf_piece import Piece, pieces_of

HOME = RAW / "hf"


def find_hf(
    root: Path,
    *,
    tag_columns: Sequence[str] = (),
    list_name: str = "",
    config: str = "",
    tags_from_masks: bool = False,
) -> Batch:
    """Find the photographs of a dataset.

    Args:
        root: the folder.
        tag_columns: names of the tag columns; empty for the usual names.
        list_name: put all photographs on this list.
        config: which of the dataset's configurations; empty for its only or default one.
        tags_from_masks: take the tags from the true masks, which are opened for it.

    Raises:
        DataError: there is no dataset, it has no images or no tags, or nothing names the values of its masks.
    """
    findings = Findings(root)
    forget()
    tables = _tables(root, find_files(findings, config), tag_columns, tags_from_masks=tags_from_masks)
    every = [row for table in tables for row in table.rows]
    classes = tuple(dict.fromkeys(name for table in tables for name in table.columns.classes(every)))
    values = dict(enumerate(classes, 1)) if _say_columns(findings, tables, classes) else {}
    reader = MaskTags(names_of_values(root), Counter(), Counter()) if tags_from_masks else None
    ids = iter(image_ids(findings, [(table.piece.split, row) for table in tables for row in table.rows]))
    candidates: list[Candidate] = []
    for table in tables:
        for number in range(len(table.rows)):
            candidate = _candidate(
                findings, table, number, next(ids), list_name, masked=bool(values or reader), reader=reader
            )
            candidates += [candidate] if candidate else []
    if reader:
        values = reader.used(findings)
        classes = tuple(dict.fromkeys(values.values()))
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
        mask_values=values,
        decisions=tuple(findings.decisions),
        passed_over=findings.passed_over,
    )


@dataclass(frozen=True)
class _Table:
    """One file, its columns and what they say of each row, beside its pixels."""

    piece: Piece
    columns: DatasetColumns
    rows: Sequence[Mapping[str, Any]]


def _tables(
    root: Path, files: Sequence[SplitFile], tag_columns: Sequence[str], *, tags_from_masks: bool
) -> list[_Table]:
    """The files of a dataset; how its tags are read depends on all of them."""
    tables = []
    for piece in pieces_of(root, files, read_card(root)):
        columns = DatasetColumns.of(piece, tag_columns, tags_from_masks=tags_from_masks)
        tables.append(_Table(piece, columns, _rows(piece, columns.described())))
    every = [row for table in tables for row in table.rows]
    return [_Table(table.piece, table.columns.fitted(every), table.rows) for table in tables]


def _rows(piece: Piece, columns: list[str]) -> Sequence[Mapping[str, Any]]:
    table = piece.table(columns)
    return values_of(str(piece.path), table) if columns else [{}] * table.num_rows


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
    sure = all(tag.is_usual for table in tables for tag in table.columns.tags)
    named = bool(classes) and not unnamed and sure
    if mask and not tables[0].columns.tags:
        findings.decisions.append(f"tags are those of the classes in the true masks, in the column {mask!r}")
    elif mask and not named:
        findings.decisions.append(
            f"no true masks: no tag column names the values in the column {mask!r}; if one does, type --tag-columns with it"
        )
    elif mask:
        findings.decisions.append(f"the column {mask!r} holds the true masks; 1 is {classes[0]!r}")
    return bool(mask) and named


def _candidate(
    findings: Findings,
    table: _Table,
    number: int,
    image_id: str | None,
    list_name: str,
    *,
    masked: bool,
    reader: MaskTags | None,
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
    photograph = ImageCell(piece, columns.image, number, root)
    mask = ImageCell(piece, columns.mask, number, root) if masked and columns.mask else None
    if mask and mask.is_empty():
        mask = None
    if reader:
        try:
            tags = reader.tags(mask.load() if mask else b"")
        except DataError as error:
            findings.leave_out(image_id, where, f"its tags are those of its mask: {error.problem}")
            return None
    stem, file, mask_file = file_name(image_id), photograph.file(), mask.file() if mask else None
    unpacked = HOME / digest_bytes(str(root).encode())[:16] / f"masks/{stem}.png"
    return Candidate(
        image_id=image_id,
        path=file or HOME / digest_bytes(root.name.encode())[:8] / f"{stem}{photograph.suffix()}",
        tags=tags,
        lists=lists,
        where=where,
        mask=mask_file or (unpacked if mask else None),
        photograph_bytes=None if file else photograph.load,
        mask_bytes=mask.load if mask and not mask_file else None,
        within=root if file else None,
    )


def _lists(row: Mapping[str, Any], piece: Piece, decided: str) -> tuple[str, ...] | None:
    """The lists of one row: the one of the command line, its own (a text is one list), or its split; None if not readable."""
    cell = decided or row.get("lists")
    named = [] if cell is None or cell == "" else [cell] if isinstance(cell, str) else cell
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return None
    return tuple(named) or ((piece.split,) if piece.split else ())
