"""The walks' threshold, from labels that are confident in part."""

import json

import numpy as np
import pytest

from labelfactory.dataset.prepared import IMAGES, Dataset, ImageRecord, write_dataset
from labelfactory.errors import DataError
from labelfactory.rows.columns import ArrayColumn, MaskColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import Classes
from stages.calibrate_walks import CalibrateWalks, CalibrateWalksConfig

CLASSES = Classes(("cat", "dog"))
SCORES = np.array([[[0.125, 0.25, 0.625, 0.875]]])
RECORD = ImageRecord(
    image_id="a",
    path="a.jpg",
    sha256="0" * 64,
    lists=("train",),
    tags=("dog",),
    mask_path=None,
    mask_sha256=None,
    position=0,
    width=4,
    height=1,
    split="train",
    shard=0,
    status="ok",
    reason="",
)


def write_row(noun, columns, row):
    """One shard of one row."""
    folder = ShardFolder(IMAGES.parent.parent / noun)
    folder.folder.mkdir(parents=True)
    folder.write(0, rows_table([finish("a", {}, row, columns)], shard_schema(noun, columns, CLASSES.names)))


def calibrate(label):
    """Run the stage on one dog whose walk rises from left to right."""
    write_dataset(Dataset(CLASSES, {}, "train", "val", 0, (RECORD,)))
    write_row("affinity_labels", {"label": MaskColumn()}, {"label": np.array([label], np.uint8)})
    columns = {"scores": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
    write_row("walks", columns, {"scores": SCORES.astype(np.float16), "class_ids": np.array([2], np.uint8)})
    stage = CalibrateWalks(CalibrateWalksConfig(background="auto"))
    stage.output.mkdir(parents=True)
    return stage.run()


@pytest.mark.parametrize(
    ("label", "between"),
    [([0, 0, 2, 2], (0.25, 0.625)), ([0, 255, 255, 2], (0.125, 0.875)), ([0, 0, 255, 2], (0.25, 0.875))],
)
def test_the_threshold_parts_what_the_labels_part(tmp_path, monkeypatch, label, between):
    """It lies between the scores of the surest background and of the least foreground; void has no say."""
    monkeypatch.chdir(tmp_path)
    chosen = calibrate(label)["background"]
    assert between[0] < chosen <= between[1]
    written = json.loads((tmp_path / "data/walk_threshold/thresholds.json").read_text())
    assert written == {"background": {"value": chosen, "source": "auto"}}


def test_labels_that_are_void_everywhere_are_refused(tmp_path, monkeypatch):
    """With what to type, not with numpy's word for it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="void everywhere") as caught:
        calibrate([255, 255, 255, 255])
    assert "calibrate_walks.background" in caught.value.remedy
