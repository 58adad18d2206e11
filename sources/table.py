"""A table of photographs: CSV, JSON lines or Parquet, with a column of paths and a column of tags.

    path    path, file, filename, file_name, image, image_path or url: a path from the table's folder (or --root), or a URL
            (http, https, s3, gs, az, sftp, …), fetched once into data/raw/table/
    tags    tags, tag, labels, label, classes or class: a list, or tags separated by `|`, `;` or `,`; empty is a legal negative
    id      image_id or id; without it the path without its suffix is the image id
    list    split, list, lists or subset: train, val, …; without it --val-fraction splits them

Other column names are given with --path-column, --tags-column and so on.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS, RAW
from labelfactory.masking import masked_addresses
from sources._batch import Batch, Candidate
from sources._cells import id_of_cell, tags_of_cell
from sources._fetch import REMOTE, fetch
from sources._findings import Findings
from sources._rows import Rows, read_rows

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "image", "image_path", "url"),
    "tags": ("tags", "tag", "labels", "label", "classes", "class"),
    "id": ("image_id", "id"),
    "list": ("split", "list", "lists", "subset"),
}


@dataclass(frozen=True)
class ColumnNames:
    """Names of a table's columns; empty for the usual names (module docstring)."""

    path: str = ""
    tags: str = ""
    id: str = ""
    list: str = ""


def find_table(
    path: Path, *, root: Path | None = None, columns: ColumnNames | None = None, list_name: str = "", keep: bool = True
) -> Batch:
    """Find the photographs of a table; none is opened.

    Args:
        path: the table, .csv, .tsv, .txt, .jsonl, .ndjson, .json or .parquet.
        root: the folder that paths are relative to and must stay inside of; None for the table's own.
        columns: names of the columns.
        list_name: put all photographs on this list.
        keep: keep what is fetched from URLs in data/raw/table.

    Raises:
        DataError: the table is missing or has an unknown suffix, or a column that is needed cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file", "Name a table: .csv, .jsonl or .parquet.")
    findings = Findings(path)
    wanted = columns or ColumnNames()
    rows = read_rows(findings, path, needed=lambda names: _roles(names, wanted).values())
    home = root or path.parent
    names = _find_columns(findings, rows, wanted) if not findings.problems else {}
    candidates = []
    if "path" in names and "tags" in names:
        for number, row in rows.rows:
            candidate = _candidate(findings, f"{path.name}, row {number}", row, names, home, keep)
            if candidate is not None:
                candidates.append(candidate)
    if list_name:
        candidates = [Candidate(**{**vars(c), "lists": (list_name,)}) for c in candidates]
    return Batch(
        path, f"import table {path}", (), tuple(candidates), tuple(findings.left_out), problems=tuple(findings.problems)
    )


def _roles(columns: Sequence[str], wanted: ColumnNames) -> dict[str, str]:
    """Role → name of its column, for the roles that have one."""
    by_low = {name.strip().lower(): name for name in reversed(columns)}
    names: dict[str, str] = {}
    for what, usual in COLUMNS.items():
        asked: str = getattr(wanted, what)
        known = asked if asked in columns else next((by_low[n] for n in usual if n in by_low), "")
        if known:
            names[what] = known
    return names


def _find_columns(findings: Findings, rows: Rows, wanted: ColumnNames) -> dict[str, str]:
    """Role → name of its column; a missing column of paths or tags is a problem."""
    if not rows.rows and not findings.left_out:
        findings.add(findings.root.name, "contains no row")
        return {}
    names = _roles(rows.columns, wanted)
    for what in COLUMNS:
        asked: str = getattr(wanted, what)
        if asked and asked not in rows.columns:
            findings.add(f"--{what}-column", f"there is no column {asked!r}; the table has {', '.join(rows.columns)}")
        elif what in ("path", "tags") and what not in names:
            has = ", ".join(str(name)[:40] for name in rows.columns[:20]) or "no named column"
            findings.add(
                findings.root.name,
                f"has no column of {what}s ({has}); name it with --{what}-column".replace("tagss", "tags"),
            )
    return names


def _candidate(
    findings: Findings, where: str, row: Mapping[str, Any], names: Mapping[str, str], home: Path, keep: bool
) -> Candidate | None:
    """The candidate of one row; None, and a note, if it names no photograph."""
    stated = row.get(names["path"])
    if not isinstance(stated, str) or not stated.strip() or "\0" in stated:
        findings.leave_out("", where, "names no photograph" if not stated else f"{stated!r} is not a path")
        return None
    stated = stated.strip()
    tags = tags_of_cell(row.get(names["tags"]))
    if tags is None:
        findings.leave_out("", where, f"{str(row[names['tags']])[:60]!r} is not a list of tags", path=stated)
        return None
    image_id = id_of_cell(row.get(names.get("id", "")))
    if image_id is None:
        reason = f"{str(row[names['id']])[:60]!r} is not an image id: a text or a whole number"
        findings.leave_out("", where, reason, path=stated)
        return None
    image_id = image_id or masked_addresses(stated.removesuffix(PurePosixPath(stated).suffix))
    lists = tags_of_cell(row.get(names.get("list", "")))
    if lists is None:
        findings.leave_out(image_id, where, f"{str(row[names['list']])[:60]!r} is not a list of lists", path=stated)
        return None
    load: Callable[[], bytes] | None = None
    if "://" in stated:
        try:
            address, digest = urlsplit(stated), digest_bytes(stated.encode())
        except ValueError as error:
            findings.leave_out(image_id, where, f"{stated!r} is not a URL: {error}")
            return None
        if address.scheme.lower() not in REMOTE or "::" in stated:
            findings.leave_out(image_id, where, f"{stated!r}: URLs must begin with one of {', '.join(REMOTE)}")
            return None
        suffix = PurePosixPath(address.path).suffix
        path = RAW / "table" / f"{digest[:32]}{suffix if suffix.lower() in PHOTOGRAPHS else ''}"
        load = fetch(stated, path, keep=keep)
    else:
        path = home / stated
        inside = Path(os.path.abspath(home))  # noqa: PTH100 - resolve() would follow a link out of the root
        if not Path(os.path.abspath(path)).is_relative_to(inside):  # noqa: PTH100
            findings.leave_out(
                image_id,
                where,
                f"{stated!r} is outside of {home.resolve() if home == Path() else home}; --root names another folder",
                path=stated,
            )
            return None
    return Candidate(image_id, path, tags, lists, where, photograph_bytes=load, within=home)
