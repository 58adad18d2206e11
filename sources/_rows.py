"""Read a CSV, JSON lines or Parquet file: rows with their numbers, and the problems of unreadable ones."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, check_regular, read_file
from sources._cells import values_of
from sources._findings import Findings

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True)
class Rows:
    """A table in memory."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[int, Mapping[str, Any]]]  # number in the file, from 1; for a CSV the line, header included


Needed = Callable[[Sequence[str]], Iterable[str]]
"""Chooses from the names of all columns."""


def read_rows(findings: Findings, path: Path, *, needed: Needed = tuple) -> Rows:
    """Read a table. Unreadable rows are noted in `findings`, not raised.

    Args:
        findings: collects the problems.
        path: the table.
        needed: the columns that are read of a Parquet file; by default all.

    Raises:
        DataError: the suffix is not known, or values of such a column cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: {suffix or 'no suffix'} is not a table format", f"Name a {', '.join(SUFFIXES[:-1])} or .parquet."
        )
    if suffix == ".parquet":
        return _parquet(findings, path, needed)
    try:
        text = read_file(path, largest=LARGEST_TABLE).decode("utf-8-sig")
    except FileRefusedError as error:
        findings.add(path.name, f"not readable: {error.reason}")
        return Rows((), ())
    except UnicodeDecodeError as error:
        findings.add(path.name, "not readable: not UTF-8 text", error.object[: error.start].count(b"\n") + 1)
        return Rows((), ())
    return _json_lines(findings, path, text) if suffix in (".jsonl", ".ndjson", ".json") else _csv(findings, path, text)


def _csv(findings: Findings, path: Path, text: str) -> Rows:
    """Cells separated by commas, semicolons or tabs, whichever is most frequent in the header."""
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    # not str.splitlines, which also splits at characters that may stand in a cell, such as U+2028
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header: tuple[str, ...] = ()
    rows: list[tuple[int, Mapping[str, Any]]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = tuple(cell.strip() for cell in cells)
            elif len(cells) != len(header):
                reason = f"{len(cells)} cells, the header has {len(header)}"
                findings.leave_out(f"row {reader.line_num}", path.name, reason, reader.line_num)
            else:
                rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        findings.add(path.name, f"not readable as CSV: {error}", reader.line_num)
    if len(set(header)) != len(header):
        findings.add(path.name, "two columns have the same name", 1)
    return Rows(header, rows)


def _json_lines(findings: Findings, path: Path, text: str) -> Rows:
    """One object per line, or one list of objects, numbered from 1; the columns are the keys of all objects."""
    columns: dict[str, None] = {}
    rows: list[tuple[int, Mapping[str, Any]]] = []
    lines: list[Any] = text.split("\n")
    if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
        try:
            lines = json.loads(text)
        except (ValueError, RecursionError) as error:
            findings.add(path.name, f"not JSON: {str(error)[:80]}")
            return Rows((), ())
    for number, line in enumerate(lines, 1):
        if isinstance(line, str) and not line.strip():
            continue
        try:
            row = json.loads(line) if isinstance(line, str) else line
        except (ValueError, RecursionError) as error:
            findings.leave_out(f"row {number}", path.name, f"not JSON: {str(error)[:80]}", number)
            continue
        if isinstance(row, dict):
            columns |= dict.fromkeys(row)
            rows.append((number, row))
        else:
            findings.leave_out(f"row {number}", path.name, "is not a JSON object", number)
    return Rows(tuple(columns), rows)


def _parquet(findings: Findings, path: Path, needed: Needed) -> Rows:
    """The columns that are needed: others may hold values that Python cannot."""
    try:
        check_regular(path, largest=LARGEST_TABLE)
        opened = pq.ParquetFile(path)
        names = tuple(opened.schema_arrow.names)
        if len(set(names)) != len(names):
            findings.add(path.name, "two columns have the same name")
            return Rows(names, ())
        columns = list(dict.fromkeys(needed(names)))
        table = opened.read(columns).select(columns)  # read takes "a.b" for "a" too
        rows = values_of(path.name, table) if columns else [{}] * opened.metadata.num_rows
        return Rows(names, list(enumerate(rows, 1)))
    except FileRefusedError as error:
        findings.add(path.name, f"not readable as Parquet: {error.reason}")
        return Rows((), ())
    except (OSError, pa.ArrowException, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        findings.add(path.name, f"not readable as Parquet: {reason}")
        return Rows((), ())
