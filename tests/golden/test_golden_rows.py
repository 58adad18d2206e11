"""The engine makes the rows that it made before: keys, digests and bytes of a small set of integer arithmetic."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Workspace
from golden import FOLDER

from labelfactory.digests import digest_file, digest_json, digest_rows
from labelfactory.learning.checkpoints import weights_digest
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn, TextColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage


class SumsConfig(Section):
    factor: int = 3


class Sums(PerImageStage[SumsConfig]):
    """A value of each kind that a row may hold; it fails over one image."""

    writes = "sums"
    columns = {"grid": ArrayColumn("int32"), "total": NumberColumn("int64"), "word": TextColumn(), "mask": MaskColumn()}
    uses_gpu = False

    @classmethod
    def stage_name(cls) -> str:
        return "sums"

    def process(self, sample: Sample) -> Row:
        if sample.record.image_id == "d":
            raise ValueError("no sum")
        pixels = sample.photograph().astype(np.int32)
        grid = pixels.sum(axis=2, dtype=np.int32) * np.int32(self.cfg.factor)
        mask = (grid % 3).astype(np.uint8)
        return {"grid": grid, "total": int(grid.sum()), "word": "|".join(sample.record.tags), "mask": mask}


class Doubles(PerImageStage[Section]):
    """A stage after it."""

    writes = "doubles"
    reads = ("dataset", "sums")
    reads_rows = ("sums",)
    columns = {"grid": ArrayColumn("int32")}
    uses_gpu = False

    @classmethod
    def stage_name(cls) -> str:
        return "doubles"

    def fixed(self) -> dict[str, str]:
        return {"network": "0" * 64}

    def process(self, sample: Sample) -> Row:
        return {"grid": sample.of("sums")["grid"] * np.int32(2)}


def draw(workspace: Workspace) -> None:
    """Photographs whose bytes depend on no library."""
    y, x, channel = np.mgrid[0:5, 0:6, 0:3]
    for k, record in enumerate(workspace.records):
        pixels = ((x * 7 + y * 11 + channel * 17 + k * 13) % 256).astype(np.uint8)
        data = b"P6 6 5 255\n" + pixels.tobytes()
        path = Path(f"photographs/{record.image_id}.ppm")
        path.write_bytes(data)
        workspace.change(record.image_id, path=str(path), sha256=hashlib.sha256(data).hexdigest())


def states(noun: str) -> dict[str, Any]:
    """What is stored of each row beside its payload."""
    tables = [pq.read_table(path) for path in sorted(Path("data", noun).glob("*.parquet"))]
    rows = pa.concat_tables(tables).select(["image_id", "key", "digest", "status", "reason", "inputs"]).to_pylist()
    return {row.pop("image_id"): row | {"inputs": json.loads(row["inputs"])} for row in rows}


@pytest.fixture
def two_stages(workspace):
    """Two stages have run, the second over what the first made; one image is in quarantine."""
    workspace.wire("sums", "doubles")
    draw(workspace)
    for kind in (Sums, Doubles):
        stage = kind(kind.section())
        stage.output.mkdir()
        stage.update()


def test_the_engine_makes_the_same_rows(two_stages, hold_golden):
    """Keys, digests, inputs and reasons of rows; digests of JSON, row sets and weights."""
    state = {"weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "bias": torch.tensor([1.5])}
    figures: dict[str, Any] = {noun: states(noun) for noun in ("sums", "doubles")}
    figures |= {
        "json": digest_json({"b": [1, 2.5, "é"], "a": None}),
        "row set": digest_rows([("b", "2"), ("a", "1")]),
        "weights": weights_digest(state, {"net": "x", "classes": 2}),
    }
    hold_golden("rows", figures, tolerance=0.0, by_number=True)


def test_the_engine_writes_the_same_bytes(two_stages, hold_golden, request):
    """Files of one version of pyarrow; another may write other bytes for the same rows."""
    name = f"shards-of-pyarrow-{pa.__version__}"
    if not (FOLDER / f"{name}.json").exists() and not request.config.getoption("--rewrite-golden"):
        pytest.skip(
            f"pyarrow {pa.__version__}: no bytes are stored for it; `pytest tests/golden --rewrite-golden` stores them"
        )
    files = {path.name: digest_file(path) for path in sorted(Path("data/doubles").glob("*.parquet"))}
    hold_golden(name, files, tolerance=0.0, by_number=True)
