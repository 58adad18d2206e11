"""Cells of a table or a dataset: values of Parquet and Arrow columns, and what a cell says about an image."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from labelfactory.errors import DataError, in_short


def values_of(where: str, table: pa.Table) -> list[Mapping[str, Any]]:
    """The rows of a table as values of Python.

    Args:
        where: names the file in an error.
        table: only with columns that are needed, each name once: one that cannot be converted is an error.

    Raises:
        DataError: a column has values that Python cannot hold, such as a date after the year 9999.
    """
    columns: dict[str, list[Any]] = {}
    for name in table.column_names:
        try:
            columns[name] = table.column(name).to_pylist()
        except Exception as error:  # of pyarrow, datetime or zoneinfo: which one depends on the type
            reason = in_short(error, 120)
            raise DataError(
                f"{where}: the column {name!r} of type {table.schema.field(name).type} cannot be read: {reason}",
                "Save this column as text.",
            ) from None
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def id_of_cell(cell: Any) -> str | None:
    """The image id in a cell, which is text or a whole number; "" for an empty cell, None for anything else."""
    if cell is None or cell != cell:  # NaN is an empty cell
        return ""
    if isinstance(cell, float) and cell.is_integer():  # pandas' whole numbers, in a column with an empty cell
        cell = int(cell)
    return str(cell) if type(cell) in (str, int) else None


def tags_of_cell(cell: Any) -> tuple[str, ...] | None:
    """Tags of one cell: a list, JSON of a list, or text separated by `|`, `;` or `,`; None for anything else."""
    if cell is None or cell != cell:  # NaN is an empty cell
        return ()
    if isinstance(cell, str):
        if cell.lstrip().startswith("["):
            try:
                return tags_of_cell(json.loads(cell))
            except (ValueError, RecursionError):
                return None
        cell = re.split(r"[|;,]", cell)
    if not isinstance(cell, Sequence) or not all(isinstance(tag, str) for tag in cell):
        return None
    return tuple(dict.fromkeys(tag.strip() for tag in cell if tag.strip()))
