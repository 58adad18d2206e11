"""Rows that were computed earlier, read back with their digests checked."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from labelfactory.digests import digest_payload
from labelfactory.rows.columns import Column
from labelfactory.rows.header import STATE_COLUMNS, columns_of, same_but_for_classes
from labelfactory.rows.shards import FinishedRow


def intact_rows(table: pa.Table, schema: pa.Schema) -> list[FinishedRow]:
    """The rows of a table whose payload matches their digest; none where it holds another kind of rows than `schema`.

    Damaged bytes may raise any exception of a decoder.
    """
    if not same_but_for_classes(table.schema, schema):
        return []
    columns = columns_of(schema)
    return [row for row in (_row(stored, columns) for stored in table.to_pylist()) if _is_intact(row, columns)]


def _row(stored: Mapping[str, Any], columns: Mapping[str, Column]) -> FinishedRow:
    states = {name: stored[name] for name in (*STATE_COLUMNS, "inputs")}
    return FinishedRow(**states, payload={name: stored[name] for name in columns})


def _is_intact(row: FinishedRow, columns: Mapping[str, Column]) -> bool:
    values = {name: column.decode(row.payload[name]) for name, column in columns.items()}
    return digest_payload(values) == row.digest
