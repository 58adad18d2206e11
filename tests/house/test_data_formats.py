"""docs/data-formats.md names every column that is written, and no other."""

import dataclasses
import re
from pathlib import Path

import pytest

from exports._write import formats
from labelfactory.dataset.account import Account
from labelfactory.dataset.corrections import SCHEMA as CORRECTIONS
from labelfactory.dataset.left_out import LeftOut
from labelfactory.dataset.manifest import SCHEMA as MANIFEST
from labelfactory.dataset.prepared import SCHEMA as DATASET
from labelfactory.learning.training import write_curve
from labelfactory.rows.header import shard_schema
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class
from lineage.artifacts import ROWS
from lineage.ledger import SCHEMAS
from stages.evaluate import images_schema

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/data-formats.md").read_text(encoding="utf-8")
PARTS = dict(re.findall(r"^##+ ([^\n]+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))
STAGES = {stage.noun: stage.name for stage in read_wiring(ROOT / "dvc.yaml").of_kind("rows")}


def columns_of(title: str) -> list[str]:
    """The first cell of each row of a part's table."""
    return re.findall(r"^\| `(\w+)` \|", PARTS[title], re.MULTILINE)


def test_the_tables_beside_the_shards():
    """In the files' own order."""
    assert columns_of("`data/import/manifest.parquet`") == MANIFEST.names
    assert MANIFEST.names + columns_of("`data/dataset/images.parquet`") == DATASET.names
    assert columns_of("`data/corrections/corrections.parquet`") == CORRECTIONS.names
    assert columns_of("`data/evaluation/images.parquet`") == images_schema().names
    assert columns_of("`data/import/account.json`") == [field.name for field in dataclasses.fields(Account)]
    assert columns_of("`data/import/left_out.json`") == [field.name for field in dataclasses.fields(LeftOut)]


@pytest.mark.parametrize("noun", list(STAGES))
def test_the_shards(noun):
    """What every shard has, and what each stage adds."""
    columns = stage_class(STAGES[noun]).columns
    assert columns_of(f"`data/{noun}`") == list(columns)
    common = columns_of("Shards of the per-image stages")
    assert common + list(columns) == shard_schema(STAGES[noun], columns, ["cat"]).names


def test_the_ledger():
    """Each kind of file in its own order."""
    for kind, schema in SCHEMAS.items():
        assert columns_of(f"`{kind}` in the ledger") == schema.names


def test_what_networks_and_scores_leave(tmp_path):
    """Read from files that the code itself writes, and from the line that names the columns."""
    write_curve(tmp_path / "curve.csv", [{"epoch": 1.0, "loss": 0.5, "learning_rate": 0.1}])
    assert columns_of("`curve.csv`") == (tmp_path / "curve.csv").read_text().splitlines()[0].split(",")
    assert set(columns_of("`training_rows.parquet`")) == ROWS
    code = (ROOT / "stages/evaluate.py").read_text(encoding="utf-8")
    written = [re.findall(r'"(\w+)"', row) for row in re.findall(r"write_csv\([^(]*, (\([^)]+\)),", code)]
    assert written == [columns_of(f"`data/evaluation/{name}.csv`") for name in ("thresholds", "iou")]


def test_every_format_is_described():
    """One row of the table each."""
    assert sorted(columns_of("Exports")) == formats()
