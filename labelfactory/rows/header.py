"""The header of a shard: format, stage, classes, and the kinds of its columns."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from labelfactory.digests import digest_json
from labelfactory.rows.columns import Column, describe, from_description

ROW_FORMAT = 2
"""Format of the rows. Older rows are made again by their stage; newer ones are refused."""
UNCHECKED = {"format", "stage", "classes", "columns"}
"""Keys of a header of format 1, which has no digest."""
STATE_COLUMNS = ("image_id", "key", "digest", "status", "reason")
CODECS = {"zstd": "zstd", "snappy": "snappy", "gzip": "gzip", "lz4": "lz4", "none": "uncompressed"}
"""Compressions of a shard: name in params.yaml → name in Parquet's metadata."""
HEADER = b"labelfactory"
"""The header's key in Parquet's metadata."""


def shard_schema(stage: str, columns: Mapping[str, Column], classes: Sequence[str]) -> pa.Schema:
    """Parquet schema of a stage's shards."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in (*STATE_COLUMNS, "inputs")]
    fields += [pa.field(name, column.arrow_type) for name, column in columns.items()]
    header: dict[str, Any] = {
        "format": ROW_FORMAT,
        "stage": stage,
        "classes": list(classes),
        "columns": describe(columns),
    }
    # Parquet's footer has no checksum: a flipped bit must not look like another format
    header["check"] = digest_json(header)
    return pa.schema(fields, metadata={HEADER: json.dumps(header, sort_keys=True)})


def stated_format(schema: pa.Schema) -> int:
    """The format of a shard's rows, by its header.

    Raises:
        ValueError: the header is missing or damaged.
    """
    try:
        header = json.loads(schema.metadata[HEADER])
        unchecked = header.keys() == UNCHECKED and header["format"] == 1
        intact, stated = unchecked or header.pop("check") == digest_json(header), int(header["format"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError("its header is not one of labelfactory") from None
    if not intact:
        raise ValueError("its header does not match its digest")
    return stated


def same_but_for_classes(one: pa.Schema, other: pa.Schema) -> bool:
    """Whether shards of these schemas hold the same kind of rows. The classes are in the keys of the rows that know them.

    Raises:
        ValueError: a header is missing or damaged.
    """
    return one.equals(other) and _without_classes(one) == _without_classes(other)


def _without_classes(schema: pa.Schema) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads(schema.metadata[HEADER])
        return {name: value for name, value in header.items() if name not in ("classes", "check")}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError("its header is not one of labelfactory") from None


def columns_of(schema: pa.Schema) -> dict[str, Column]:
    """How the columns of a shard are read, by its header.

    Raises:
        ValueError: the header does not describe them.
    """
    try:
        return from_description(json.loads(schema.metadata[HEADER])["columns"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError("its header does not describe its columns") from None
