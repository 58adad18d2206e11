"""Small tables with a head: one Parquet file, with JSON under `labelfactory` in its metadata."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.errors import DataError, NewerFormatError
from labelfactory.files import write_whole

HEAD = b"labelfactory"


def write_table(
    path: Path, rows: Iterable[object], schema: pa.Schema, head: Mapping[str, Any], *, row_group: int | None = None
) -> None:
    """Write objects as rows, atomically; a column is the attribute of its name.

    Equal rows and an equal head give equal bytes. `row_group`: rows per row group.
    """
    marked = schema.with_metadata({HEAD: json.dumps(head, sort_keys=True)})
    table = pa.Table.from_pylist([{name: getattr(row, name) for name in schema.names} for row in rows], schema=marked)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=row_group, write_page_checksum=True)


def read_table(path: Path, *, remedy: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read rows and head.

    Raises:
        DataError: the file is damaged or has no such head; `remedy` becomes its remedy.
    """
    table, head = read_columns(path, None, remedy=remedy)
    return table.to_pylist(), head


def read_columns(path: Path, columns: Sequence[str] | None, *, remedy: str) -> tuple[pa.Table, dict[str, Any]]:
    """Some columns of all rows, and the head. Raises DataError as `read_table`."""
    try:
        table = pq.read_table(path, columns=columns, partitioning=None, page_checksum_verification=True)
        return table, json.loads(table.schema.metadata[HEAD])
    except (pa.ArrowInvalid, OSError, TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is damaged, or not a table of labelfactory", remedy) from error


def read_group(path: Path, group: int, *, remedy: str) -> pa.Table:
    """One row group. Raises DataError as `read_table`."""
    with _opened(path, remedy) as opened:
        return opened.read_row_group(group)


def read_groups(path: Path, columns: Sequence[str], *, remedy: str) -> Iterator[pa.Table]:
    """Some columns of all rows, a row group at a time. Raises DataError as `read_table`."""
    with _opened(path, remedy) as opened:
        for group in range(opened.num_row_groups):
            yield opened.read_row_group(group, columns)


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            yield opened
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: is damaged, or not a table of labelfactory", remedy) from error


def check_format(path: Path, head: Mapping[str, Any], known: int) -> None:
    """Refuse a newer format.

    Raises:
        NewerFormatError: the format is above `known`.
        DataError: the head states no format.
    """
    stated = head.get("format")
    if not isinstance(stated, int) or stated < 1:
        raise DataError(
            f"{path}: format {stated!r} is not a format of labelfactory", f"Delete {path} and make it again."
        )
    if stated > known:
        raise NewerFormatError(f"{path}: format {stated} is newer than this program's {known}", "Update labelfactory.")
