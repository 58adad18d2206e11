"""A Hugging Face dataset: Parquet that `datasets.load_dataset(DIR)` reads, photographs and masks inside.

data/<list>-00000.parquet   image: Image; mask: Image (palette PNG of class ids, 255 void); image_id; lists; quality;
                            tags: list of ClassLabel, whose numbers are the class ids of the mask
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from exports._selection import Item, Selection
from labelfactory.dataset.images import encode_mask
from labelfactory.names import file_name

ROWS = 64
"""Rows per row group, and photographs in memory at once."""

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("image", PICTURE),
        ("mask", PICTURE),
        ("tags", pa.list_(pa.int64())),
        ("lists", pa.list_(pa.string())),
        ("quality", pa.float64()),
    ]
)


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write one Parquet file for each list."""
    (folder / "data").mkdir(parents=True)
    schema = SCHEMA.with_metadata({"huggingface": json.dumps({"info": {"features": _features(selection)}})})
    writers: dict[str, pq.ParquetWriter] = {}
    waiting: dict[str, list[dict[str, Any]]] = {}

    def flush(name: str) -> None:
        writers[name].write_table(pa.Table.from_pylist(waiting[name], schema=schema))
        waiting[name] = []

    try:
        for item in selection:
            name = file_name(selection.list_of(item)).replace("-", "_")
            if name not in writers:
                path = folder / "data" / f"{name}-00000.parquet"
                writers[name], waiting[name] = pq.ParquetWriter(path, schema, compression="zstd"), []
            waiting[name].append(_row(item, selection))
            if len(waiting[name]) == ROWS:
                flush(name)
        for name in writers:
            flush(name)
    finally:
        for writer in writers.values():
            writer.close()
    return {}


def _row(item: Item, selection: Selection) -> dict[str, Any]:
    data, suffix = item.photograph
    return {
        "image_id": item.record.image_id,
        "image": {"bytes": data, "path": f"{item.name}{suffix}"},
        "mask": {"bytes": encode_mask(item.mask), "path": f"{item.name}.png"},
        "tags": selection.dataset.classes.ids(item.record.tags).tolist(),
        "lists": list(item.record.lists),
        "quality": item.quality,
    }


def _features(selection: Selection) -> dict[str, Any]:
    """The features of the columns, as `datasets` reads them."""

    def value(kind: str) -> dict[str, str]:
        return {"dtype": kind, "_type": "Value"}

    label = {"names": list(selection.classes), "_type": "ClassLabel"}
    return {
        "image_id": value("string"),
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        "tags": {"feature": label, "_type": "List"},
        "lists": {"feature": value("string"), "_type": "List"},
        "quality": value("float64"),
    }
