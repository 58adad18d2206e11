"""Small tables with a head: one Parquet file, with JSON under `labelfactory` in its metadata."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelfactory.digests import digest_file
from labelfactory.errors import DataError, NewerFormatError
from labelfactory.files import make_folder, write_whole
from labelfactory.foreign_files import LARGEST_TABLE, check_regular

HEAD = b"labelfactory"


def write_table(
    path: Path,
    rows: Iterable[object],
    schema: pa.Schema,
    head: Mapping[str, Any],
    *,
    row_group: int | None = None,
    before: Callable[[str], None] | None = None,
) -> None:
    """Write objects as rows, atomically; a column is the attribute of its name. Equal rows and an equal head give equal bytes.

    Args:
        path: of the file.
        rows: objects.
        schema: names and types of the columns.
        head: what the file says of all rows.
        row_group: rows per row group.
        before: is called with the SHA-256 of the new file before it takes the old one's place.
    """
    marked = schema.with_metadata({HEAD: json.dumps(head, sort_keys=True)})
    table = pa.Table.from_pylist([{name: getattr(row, name) for name in schema.names} for row in rows], schema=marked)
    make_folder(path.parent)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=row_group, write_page_checksum=True)
        if before is not None:
            before(digest_file(temporary))


def read_columns(path: Path, columns: Sequence[str] | None, *, remedy: str) -> tuple[pa.Table, dict[str, Any]]:
    """Some columns of all rows, None for all columns, and the head. For no column, the head alone is read.

    Raises:
        DataError: the file is damaged or has no such head; `remedy` becomes its remedy.
    """
    check_regular(path, largest=LARGEST_TABLE)
    try:
        if columns is None or columns:
            wanted = None if columns is None else list(columns)
            table = pq.read_table(path, columns=wanted, partitioning=None, page_checksum_verification=True)
        else:  # without pyarrow's data sets, which load pandas
            table = pa.schema([], pq.read_schema(path).metadata).empty_table()
        head = json.loads(table.schema.metadata[HEAD])
    except (pa.ArrowException, OSError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged, or not a table of labelfactory", remedy) from error
    if not isinstance(head, dict):
        raise DataError(f"{path}: is damaged, or not a table of labelfactory", remedy)
    return table, head


def check_columns(path: Path, table: pa.Table, schema: pa.Schema, *, remedy: str) -> pa.Table:
    """Check that a table has these columns and types, no others, and null only where the schema allows it.

    Raises:
        DataError: it does not.
    """
    problem = ""
    if sorted(table.column_names) != sorted(schema.names):
        problem = f"has the columns {', '.join(table.column_names)}, not {', '.join(schema.names)}"
    for wanted in () if problem else schema:
        column = table[wanted.name]
        if column.type != wanted.type:
            problem = f"the column {wanted.name} is of {column.type}, not {wanted.type}"
        elif not wanted.nullable and column.null_count:
            problem = f"the column {wanted.name} has empty cells"
        elif pa.types.is_list(column.type) and pc.list_flatten(column).null_count:
            problem = f"the column {wanted.name} has empty values in its lists"
    if problem:
        raise DataError(f"{path}: {problem}", remedy)
    return table


def check_head(path: Path, head: Mapping[str, Any], *, remedy: str, **kinds: type | tuple[type, ...]) -> None:
    """Check the types of values in a head, named as in it.

    Raises:
        DataError: one is missing or of another type.
    """
    for name, kind in kinds.items():
        if not isinstance(head.get(name), kind) or isinstance(head[name], bool):
            raise DataError(f"{path}: its header has no usable {name}", remedy)


def read_group(path: Path, group: int, *, remedy: str) -> pa.Table:
    """One row group. Raises DataError as `read_columns`."""
    with _opened(path, remedy) as opened:
        return opened.read_row_group(group)


def read_groups(path: Path, columns: Sequence[str], *, remedy: str) -> Iterator[pa.Table]:
    """Some columns of all rows, a row group at a time. Raises DataError as `read_columns`."""
    with _opened(path, remedy) as opened:
        for group in range(opened.num_row_groups):
            yield opened.read_row_group(group, columns)


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as opened:
            yield opened
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: is damaged, or not a table of labelfactory", remedy) from error


def check_format(path: Path, head: Mapping[str, Any], known: int) -> None:
    """Refuse a newer format.

    Raises:
        NewerFormatError: the format is above `known`.
        DataError: the head states no format.
    """
    stated = head.get("format")
    if not isinstance(stated, int) or isinstance(stated, bool) or stated < 1:
        raise DataError(
            f"{path}: format {stated!r} is not a format of labelfactory", f"Delete {path} and make it again."
        )
    if stated > known:
        raise NewerFormatError(f"{path}: format {stated} is newer than this program's {known}", "Update labelfactory.")
