"""Which column of a table holds what."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from labelfactory.errors import did_you_mean
from labelfactory.foreign_files import PHOTOGRAPHS
from labelfactory.typed_names import typed
from sources._findings import Findings
from sources._rows import PATH_COLUMNS, Rows
from sources._tag_cells import flag_in

COLUMNS = {
    "path": PATH_COLUMNS,
    "tags": ("tags", "tag", "labels", "label", "classes", "class"),
    "id": ("image_id", "id"),
    "list": ("split", "list", "lists", "subset", "set", "partition", "is_valid"),
}
CONFIDENCE = "confidence"
"""A column of Open Images and of detectors: in a row with 0, the tag is what is not there."""
SHOWN = 20


@dataclass(frozen=True)
class ColumnNames:
    """Names of a table's columns; empty for the usual names."""

    path: str = ""
    tags: str = ""
    id: str = ""
    list: str = ""
    tag_columns: tuple[str, ...] = ()  # columns of 0 and 1, each for the class of its name


def roles(columns: Sequence[str], wanted: ColumnNames) -> dict[str, str]:
    """Role → name of its column, for the roles that have one."""
    by_low = {name.strip().lower(): name for name in reversed(columns)}
    names: dict[str, str] = {}
    for what, usual in {**COLUMNS, CONFIDENCE: (CONFIDENCE,)}.items():
        asked: str = getattr(wanted, what, "")
        known = asked if asked in columns else next((by_low[n] for n in usual if n in by_low), "")
        if known and not (what == "tags" and wanted.tag_columns):
            names[what] = known
    return names


def needed_columns(columns: Sequence[str], wanted: ColumnNames) -> list[str]:
    """Names of the columns that are read."""
    return [*roles(columns, wanted).values(), *(name for name in wanted.tag_columns if name in columns)]


def find_columns(findings: Findings, rows: Rows, wanted: ColumnNames) -> dict[str, str]:
    """Role → name of its column; a missing column of paths or tags is a problem."""
    where = findings.root.name
    names = roles(rows.columns, wanted)
    if "path" not in names and not wanted.path and (reason := _no_header(rows.columns)):
        findings.left_out.clear()  # rows that are longer or shorter than what is no header
        findings.add(where, reason)
        return {}
    if not rows.rows and not findings.left_out:
        findings.add(where, "contains no row")
        return {}
    has = ", ".join(str(name)[:40] for name in rows.columns[:SHOWN]) or "no named column"
    for what in COLUMNS:
        asked: str = getattr(wanted, what)
        if asked and asked not in rows.columns:
            findings.add(f"--{what}-column", f"there is no column {asked!r}; the table has {', '.join(rows.columns)}")
    for name in wanted.tag_columns:
        if name not in rows.columns:
            findings.add("--tag-columns", f"there is no column {name!r}{did_you_mean(name, rows.columns)}")
    if "path" not in names and not wanted.path:
        findings.add(where, f"has no column of paths ({has}); name it with --path-column{_like_paths(rows, names)}")
    if "tags" not in names and not wanted.tags and not wanted.tag_columns:
        flags = _flag_columns(rows, names.values())
        also = (
            f"; these hold 0 and 1: --tag-columns {shlex.quote(','.join(map(typed, flags)))}"
            if flags
            else ", or name columns of 0 and 1 with --tag-columns"
        )
        findings.add(where, f"has no column of tags ({has}); name it with --tags-column{also}")
    return names


def _no_header(columns: Sequence[str]) -> str:
    """Why the first row is no header; "" if it may be one."""
    if len(columns) == 1 and re.search(r"[,;\t]", columns[0]):
        return f"each row is one cell in quotes ({columns[0][:60]!r}); save it without the outer quotes"
    for name in columns:
        if any("://" in word or PurePosixPath(word).suffix.lower() in PHOTOGRAPHS for word in name.split()):
            return f"the first row names a photograph ({name[:60]!r}); write a row above it with names, such as `path,tags`"
    return ""


def _like_paths(rows: Rows, names: Mapping[str, str]) -> str:
    """The column whose first cell names a photograph, else that of the image ids, as it is typed."""
    first = rows.rows[0][1] if rows.rows else {}
    like = [name for name in rows.columns if PurePosixPath(str(first.get(name))).suffix.lower() in PHOTOGRAPHS]
    named = next(iter(like), names.get("id", ""))
    return f" {shlex.quote(named)}" if named else ""


def _flag_columns(rows: Rows, used: Any) -> list[str]:
    """Columns of which every cell is 0 or 1 (or -1), and not all are the same."""
    flags = []
    for name in rows.columns:
        values = {flag_in(row.get(name)) for _, row in rows.rows}
        if name not in used and len(values) > 1 and values <= {0, 1, -1}:
            flags.append(name)
    return flags


def tags_of_flags(
    row: Mapping[str, Any], columns: Sequence[str], absent: Mapping[str, frozenset[int]]
) -> tuple[str, ...] | str:
    """The names of the columns that say 1 in a row; a text that says which cell is neither 0 nor 1.

    Args:
        row: of the table.
        columns: of 0 and 1.
        absent: values of each column that say that a class is not there.
    """
    tags = []
    for name in columns:
        flag = flag_in(row.get(name))
        if flag == 1:
            tags.append(name)
        elif flag not in absent[name]:
            unknown = ": -1 beside 0 says that it is not known; write 0 or 1" if flag == -1 else ""
            return f"{str(row.get(name))[:40]!r} in the column {name!r} is neither 0 nor 1{unknown}"
    return tuple(tags)


def absent_values(rows: Rows, columns: Sequence[str]) -> dict[str, frozenset[int]]:
    """For each column of flags, the values of a class that is not there: 0, or -1 in a column that has no 0.

    Beside 0, -1 is not known or difficult, as in CheXpert and VOC.
    """
    seen = {name: {flag_in(row.get(name)) for _, row in rows.rows} for name in columns}
    return {name: frozenset({0}) if 0 in values else frozenset({0, -1}) for name, values in seen.items()}
