"""Hugging Face datasets whose photographs have no ids of their own, so that two of them share all ids."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelfactory.dataset.images import encode_mask
from sources._batch import Batch
from sources.hf import find_hf

COUNT = 6


def picture(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def dataset(folder: str, *, seed: int = 0, first: int = 1) -> Batch:
    """A dataset without ids of its own; its photographs depend on the seed, its masks on the first class too."""
    features = {
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        "labels": {"feature": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "_type": "List"},
    }
    masks = [np.full((8, 8), 1 + (k + first) % 2, np.uint8) for k in range(COUNT)]
    rows = {
        "image": [{"bytes": picture(seed + k), "path": None} for k in range(COUNT)],
        "mask": [{"bytes": encode_mask(mask), "path": None} for mask in masks],
        "labels": [[(k + first) % 2] for k in range(COUNT)],
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    header = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table(rows).replace_schema_metadata(header), Path(folder, "train-0.parquet"))
    return find_hf(Path(folder))
