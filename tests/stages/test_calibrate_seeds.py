"""The seeds' threshold, from drawn photographs whose object has another colour than what surrounds it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from labelfactory.dataset.prepared import IMAGES, Dataset, ImageRecord, write_dataset
from labelfactory.digests import digest_file
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import Classes
from labelfactory.settings.thresholds import EVIDENCE, read_thresholds
from labelfactory.stage.runner import read_sections
from stages import _calibration
from stages.calibrate_seeds import CalibrateSeeds

CLASSES = Classes(("cat", "dog"))
SIDE = 40
RAMP = np.linspace(0.0, 1.0, SIDE, dtype=np.float16)
"""Scores of a column, from left to right: a threshold t cuts the photograph at column t · SIDE, about."""


class NamesOrange(nn.Module):
    """A classifier that names the tag where more than two columns are orange; it counts what it is shown."""

    seen = 0

    def forward(self, views: Tensor) -> Tensor:
        NamesOrange.seen += len(views)
        columns = (views[:, 0] > 200).all(dim=1).sum(dim=1)
        return torch.where(columns > 2, 4.0, -4.0)[:, None].expand(-1, 2)


def calibrate(monkeypatch: pytest.MonkeyPatch, folder: Path, edges: list[int], **changes: object) -> CalibrateSeeds:
    """Run the stage on photographs that are green up to a column and orange from there on."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    monkeypatch.setattr(NamesOrange, "seen", 0)
    architecture = {"output_stride": 1}
    monkeypatch.setattr(_calibration, "load_checkpoint", lambda path: ({}, SimpleNamespace(architecture=architecture)))
    monkeypatch.setattr(_calibration, "classifier_from", lambda architecture, state: NamesOrange())
    records, rows = [], []
    columns = {"cam": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
    for k, edge in enumerate(edges):
        pixels = np.full((SIDE, SIDE, 3), (40, 140, 60), np.uint8)
        pixels[:, edge:] = (220, 130, 40)
        path = Path(f"{k}.png")
        Image.fromarray(pixels).save(path)
        place = {"path": str(path), "sha256": digest_file(path), "mask_path": None, "mask_sha256": None, "position": k}
        size = {"width": SIDE, "height": SIDE, "split": "train", "shard": 0, "status": "ok", "reason": ""}
        records.append(ImageRecord(image_id=str(k), lists=("train",), tags=("dog",), **place, **size))
        cam = np.broadcast_to(RAMP, (1, SIDE, SIDE))
        rows.append(finish(str(k), {}, {"cam": cam, "class_ids": np.array([2], np.uint8)}, columns))
    write_dataset(Dataset(CLASSES, {}, "train", "val", 0, tuple(records)))
    shards = ShardFolder(IMAGES.parent.parent / "cams")
    shards.folder.mkdir(parents=True)
    shards.write(0, rows_table(rows, shard_schema("cams", columns, CLASSES.names)))
    section = read_sections_of_project(monkeypatch)["calibrate_seeds"]
    stage = CalibrateSeeds(section.model_copy(update={"scale": 1.0, "precision": "32-true", **changes}))
    stage.output.mkdir(parents=True)
    stage.run()
    return stage


def read_sections_of_project(monkeypatch: pytest.MonkeyPatch) -> dict:
    """The sections of the project's own params.yaml."""
    with monkeypatch.context() as there:
        there.chdir(Path(_calibration.__file__).parents[1])
        return read_sections()


@pytest.mark.parametrize("edge", [14, 24])
def test_the_threshold_cuts_where_the_colours_part(tmp_path, monkeypatch, edge):
    """Labels of the affinity network lie on both sides of it; what each candidate has for it is written beside it."""
    stage = calibrate(monkeypatch, tmp_path, [edge] * 3)
    found = read_thresholds(stage.output)
    assert found["background"].value == pytest.approx(edge / SIDE, abs=0.03)
    assert found["affinity_foreground"].value == pytest.approx(found["background"].value + stage.cfg.foreground_margin)
    evidence = pd.read_csv(stage.output / EVIDENCE)
    assert list(evidence.columns) == ["threshold", "J", "explained"]
    assert evidence.threshold.tolist() == pytest.approx([round(0.1 + 0.01 * k, 2) for k in range(81)])
    best = evidence.threshold[evidence.explained.idxmax()]
    assert best == pytest.approx(found["background"].value, abs=0.03)
    assert evidence.explained.max() > 0.9


def test_colours_of_all_photographs_count_and_the_classifier_is_shown_a_sample(tmp_path, monkeypatch):
    """Of five photographs it sees two, at each candidate with and without the foreground; the colours of four outvote one."""
    stage = calibrate(monkeypatch, tmp_path, [24, 24, 14, 24, 24], images=2)
    assert NamesOrange.seen == 2 * 2 * len(_calibration.MASKED)
    assert read_thresholds(stage.output)["background"].value == pytest.approx(24 / SIDE, abs=0.03)
