"""Small tables whose head says what they are: one Parquet file, JSON under `labelfactory` in its metadata."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.errors import DataError
from labelfactory.files import write_whole

HEAD = b"labelfactory"


def write_table(path: Path, rows: Iterable[object], schema: pa.Schema, head: Mapping[str, Any]) -> None:
    """Write objects as rows, whole or not at all; a column takes the attribute of its name.

    Equal rows and an equal head give equal bytes.
    """
    marked = schema.with_metadata({HEAD: json.dumps(head, sort_keys=True)})
    table = pa.Table.from_pylist([{name: getattr(row, name) for name in schema.names} for row in rows], schema=marked)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, *, remedy: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Read rows and head.

    Raises:
        DataError: the file is damaged, or somebody else's; `remedy` says what to type.
    """
    try:
        table = pq.read_table(path)
        head: dict[str, Any] = json.loads(table.schema.metadata[HEAD])
    except (pa.ArrowInvalid, OSError, TypeError, KeyError, ValueError) as error:
        raise DataError(f"{path}: is damaged, or no table of labelfactory's", remedy) from error
    return table.to_pylist(), head
