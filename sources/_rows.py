"""Read a CSV, JSON lines or Parquet file: rows with their numbers, and the problems of unreadable ones."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import LARGEST_TABLE, PHOTOGRAPHS, FileRefusedError, check_regular
from sources._cells import values_of
from sources._findings import Findings
from sources._row_limit import open_parquet
from sources._table_text import table_text

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "image", "image_path", "url"),
    *("filepath", "file_path", "image_file", "image_name", "imagename", "img", "img_path", "fname", "photo"),
)
"""Usual names of a column of paths."""
MORE = "\0"
"""Key of the cells of a row that are beyond the header; no column has this name."""


@dataclass(frozen=True)
class Rows:
    """A table in memory."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Mapping[str, Any]]]  # number in the file, from 1; for a CSV the line, header included


Needed = Callable[[Sequence[str]], Iterable[str]]
"""Chooses from the names of all columns."""


def read_rows(findings: Findings, path: Path, *, needed: Needed = tuple, encoding: str = "") -> Rows:
    """Read a table. Unreadable rows are noted in `findings`, not raised.

    Args:
        findings: collects the problems.
        path: the table.
        needed: the columns that are read of a Parquet file; by default all.
        encoding: of a text; empty to find out.

    Raises:
        DataError: the suffix is not known, or values of such a column cannot be read.
        UserError: there is no such encoding.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        excel = "In Excel, save it as CSV UTF-8. " if suffix in (".xlsx", ".xls", ".xlsm", ".ods", ".numbers") else ""
        raise DataError(
            f"{path}: {suffix or 'no suffix'} is not a table format",
            f"{excel}Name a {', '.join(SUFFIXES[:-1])} or .parquet.",
        )
    if suffix == ".parquet":
        return _parquet(findings, path, needed)
    text = table_text(findings, path, encoding)
    if text is None:
        return Rows((), ())
    return _json_lines(findings, path, text) if suffix in (".jsonl", ".ndjson", ".json") else _csv(findings, path, text)


def _csv(findings: Findings, path: Path, text: str) -> Rows:
    """Cells separated by the character that Excel's first line names, else the most frequent in the header."""
    # not str.splitlines, which also splits at characters that may stand in a cell, such as U+2028
    stream = io.StringIO(text, newline="")
    first = next(
        (line for line in io.StringIO(text, newline=None) if line.strip() and not _is_comment(line)), ""
    ).strip()
    named = re.fullmatch(r"sep=(.)", first)
    delimiter = named[1] if named else max(",;\t|", key=first.count)
    if delimiter not in first and {word.lower() for word in first.split()} & {*PATH_COLUMNS}:
        delimiter = " "
    # `a, "b, c"` is two cells
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
    header: tuple[str, ...] = ()
    rows: list[tuple[int, Mapping[str, Any]]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header and ("".join(cells).startswith("sep=") or _is_comment(delimiter.join(cells))):
                continue
            if not header:
                header = tuple(cell.strip() for cell in cells)
                continue
            more = [cell for cell in cells[len(header) :] if cell.strip()]  # Excel ends rows with empty cells
            if len(cells) < len(header):
                reason = f"{len(cells)} cells, the header has {len(header)}"
                findings.leave_out(f"row {reader.line_num}", path.name, reason, reader.line_num)
            else:
                row: dict[str, Any] = {name: cell for name, cell in zip(header, cells, strict=False) if name}
                rows.append((reader.line_num, row | ({MORE: more} if more else {})))
    except csv.Error as error:
        findings.add(path.name, f"not readable as CSV: {error}", reader.line_num)
    columns = tuple(name for name in header if name)
    if len(set(columns)) != len(columns):
        findings.add(path.name, "two columns have the same name", 1)
    return Rows(columns, rows)


def _is_comment(line: str) -> bool:
    """A line above the header that is no row."""
    return line.lstrip().startswith("#") and not any(delimiter in line for delimiter in ",;\t|")


def _json_lines(findings: Findings, path: Path, text: str) -> Rows:
    """One object per line, or one list of objects, numbered from 1; the columns are the keys of all objects."""
    columns: dict[str, None] = {}
    rows: list[tuple[int, Mapping[str, Any]]] = []
    lines: list[Any] = text.split("\n")
    if path.suffix.lower() == ".json" or text.lstrip().startswith("[") or "\n" not in text.strip():
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError) as error:
            if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
                findings.add(path.name, f"not JSON: {in_short(error, 80)}")
                return Rows((), ())
        else:
            lines = loaded if isinstance(loaded, list) else [loaded]
    if len(lines) == 1 and _is_mapping(lines[0]):
        findings.decisions.append(f"{path.name}: the keys of its one object are read as paths, the values as tags")
        lines = [{"path": name, "tags": cell} for name, cell in lines[0].items()]
    if len(lines) == 1 and (reason := _no_rows(lines[0])):
        findings.add(path.name, reason)
        return Rows((), ())
    for number, line in enumerate(lines, 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            row = json.loads(line) if isinstance(line, str) else line
        except (ValueError, RecursionError) as error:
            findings.leave_out(f"row {number}", path.name, f"not JSON: {in_short(error, 80)}", number)
            continue
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            rows.append((number, row))
        else:
            findings.leave_out(f"row {number}", path.name, "is not a JSON object", number)
    return Rows(tuple(columns), rows)


def _is_mapping(loaded: Any) -> bool:
    """Whether it is one object whose keys are photographs: {"a.jpg": ["cat"], …}."""
    return isinstance(loaded, dict) and bool(loaded) and all(PurePath(k).suffix.lower() in PHOTOGRAPHS for k in loaded)


def _no_rows(loaded: Any) -> str:
    """Why an object is a whole table, not a row; "" for a row."""
    if (
        not isinstance(loaded, dict)
        or not loaded
        or not all(isinstance(value, (dict, list)) for value in loaded.values())
    ):
        return ""
    if "images" in loaded and "annotations" in loaded:
        return "is a COCO file; type `labelfactory import coco FILE --images DIR`"
    keys = ", ".join(map(repr, [*loaded][:4])) + (", …" if len(loaded) > 4 else "")
    return (
        f"is one object with the keys {keys}, not rows; "
        'write [{"path": "a.jpg", "tags": ["cat"]}, …] (pandas: to_json(…, orient="records"))'
    )


def _has_value(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each cell is neither null nor an empty text."""
    valid = pc.is_valid(column)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return pc.and_(valid, pc.fill_null(pc.not_equal(column, ""), False)) if is_text else valid


def _parquet(findings: Findings, path: Path, needed: Needed) -> Rows:
    """The columns that are needed: others may hold values that Python cannot. Rows without any of them are passed over."""
    try:
        check_regular(path, largest=LARGEST_TABLE)
        opened = open_parquet(path)
        names = tuple(opened.schema_arrow.names)
        if len(set(names)) != len(names):
            findings.add(path.name, "two columns have the same name")
            return Rows(names, ())
        columns = list(dict.fromkeys(needed(names)))
        if not columns:
            return Rows(names, ())
        table = opened.read(columns).select(columns)  # read takes "a.b" for "a" too
        stated = reduce(pc.or_, map(_has_value, table.columns))
        if empty := table.num_rows - (pc.sum(stated).as_py() or 0):
            findings.decisions.append(f"{empty} rows of {path.name} without {' or '.join(columns[:4])} are passed over")
        numbers = [place + 1 for place in pc.indices_nonzero(stated).to_pylist()]
        return Rows(names, list(zip(numbers, values_of(path.name, table.filter(stated)), strict=True)))
    except FileRefusedError as error:
        findings.add(path.name, f"not readable as Parquet: {error.reason}")
        return Rows((), ())
    except (OSError, pa.ArrowException, ValueError, UnicodeDecodeError) as error:
        reason = in_short(error, 120)
        findings.add(path.name, f"not readable as Parquet: {reason}")
        return Rows((), ())
