"""Predictions as rows: which photographs have one, what it holds; scores, exports and pages are the same without."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable import tiny_segmenter
from made_line import CLASSES, SIZE, MadeLine

from exports._selection import Selection
from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.prepared import read_dataset, write_dataset
from labelfactory.dataset.tensors import to_tensor
from labelfactory.digests import digest_file, digest_rows
from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import CHECKPOINT, change_passport, load_checkpoint
from labelfactory.learning.training_rows import write_training_rows
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder
from labelfactory.schema import Classes
from labelfactory.settings.params import read_yaml
from labelfactory.settings.thresholds import Threshold, write_thresholds
from labelfactory.settings.wiring import DATA
from labelfactory.stage.runner import build_stage, read_sections
from models.segmenters import _whole_photograph, predict, segmenter_from
from pages.layers import ModelOnDisk
from stages import evaluate
from stages.segment_images import STEPS, STRIDE, SegmentImages

PREDICTIONS = DATA / "predictions"
SCORED = ["image-0", "image-1", "image-2"]
"""Photographs with a true mask; image-2 is on the list val alone, image-3 on rest, a list of no stage."""


def change(image_id: str, **values: Any) -> None:
    """Change fields of a photograph in the data set."""
    dataset = read_dataset()
    records = (dataclasses.replace(r, **values) if r.image_id == image_id else r for r in dataset.records)
    write_dataset(dataclasses.replace(dataset, records=tuple(records)))


@pytest.fixture
def line(tmp_path, monkeypatch) -> MadeLine:
    """A line of four photographs and a segmenter with random weights; nothing is predicted yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("LABELFACTORY_WORKERS", "1")
    monkeypatch.setattr(SegmentImages, "code_digest", "code")
    made = MadeLine()
    for k, image_id in enumerate(SCORED):
        path = Path(f"data/raw/true/{image_id}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mask(np.full(SIZE, k, dtype=np.uint8)))
        change(image_id, mask_path=str(path), mask_sha256=digest_file(path))
    change("image-2", lists=("val",), split="score")
    change("image-3", lists=("rest",), split="rest")
    for noun in ("seed_thresholds", "walk_threshold"):
        names = ("background", *evaluate.AFFINITY)
        write_thresholds(DATA / noun, {name: Threshold(0.5, "auto") for name in names})
    shutil.rmtree(DATA / "segmenter")
    tiny_segmenter(tmp_path)
    return made


def settle(section: str, **values: Any) -> None:
    """Change params.yaml."""
    params = read_yaml(Path("params.yaml"))
    params[section] |= values
    Path("params.yaml").write_text(json.dumps(params))


def stage(name: str) -> Any:
    made = build_stage(name, read_sections())
    made.output.mkdir(parents=True, exist_ok=True)
    return made


def segment(**values: Any) -> tuple[int, int]:
    """Run segment_images with these settings; gives the numbers of rows that were computed and copied."""
    settle("segment_images", **values)
    figures = stage("segment_images").run()
    return figures["rows_computed"], figures["rows_copied"]


def rows() -> dict[str, dict[str, Any]]:
    reader = RowReader(PREDICTIONS)
    return {image_id: dict(reader[image_id]) for image_id in reader.states}


@pytest.fixture
def runs(monkeypatch) -> Callable[[], int]:
    """How often a network was run on a photograph since the last time that it was asked."""
    count = 0

    def counted(*args: Any, **options: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        return predict(*args, **options)

    def since() -> int:
        nonlocal count
        last, count = count, 0
        return last

    monkeypatch.setattr(_whole_photograph, "predict", counted)
    return since


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_what_is_scored_and_what_the_line_learns_from_is_segmented_and_no_true_mask_is_opened(line):
    """Photographs of the scored lists with a true mask, on whatever list; the masks themselves may be anywhere."""
    shutil.rmtree("data/raw/true")
    assert segment() == (3, 0)
    assert list(rows()) == SCORED
    settle("evaluate", lists=["val"])
    change("image-0", lists=("train",), mask_path=None, mask_sha256=None)
    change("image-1", lists=("more",), split="rest")
    assert segment() == (0, 2)
    assert list(rows()) == ["image-0", "image-2"]  # of the training list, and scored


def test_lists_are_segmented_that_are_asked_for_and_the_rest_is_copied(line):
    """One more photograph costs one; the lists are in no key, and a second run has nothing to do."""
    segment()
    assert segment(lists=["rest"]) == (1, 3)
    before = {path.name: path.read_bytes() for path in PREDICTIONS.iterdir()}
    assert segment(lists=["rest", "val"]) == (0, 4)
    assert {path.name: path.read_bytes() for path in PREDICTIONS.iterdir()} == before
    for gallery in (1, 3):  # of another stage, whose section it reads
        settle("evaluate", gallery=gallery)
        assert segment() == (0, 4)
    for settings in ({"flip": False}, {"scales": [1.0]}, {"precision": "32-true"}):
        settle("evaluate", **settings)
        assert segment() == (4, 0)


def test_a_withdrawn_photograph_has_no_row(line):
    """It is no longer in the data set: its row goes with the next run, and the shard with its last row."""
    segment()
    dataset = read_dataset()
    for kept in (("image-1", "image-3"), ("image-3",)):
        write_dataset(dataclasses.replace(dataset, records=tuple(r for r in dataset.records if r.image_id in kept)))
        segment()
        assert [
            s.image_id for n in ShardFolder(PREDICTIONS).shards() for s in ShardFolder(PREDICTIONS).states(n).values()
        ] == [image_id for image_id in kept if image_id in SCORED]
    assert list(PREDICTIONS.iterdir()) == []


def test_a_row_holds_what_the_network_says(line):
    """Mask and figures from its probabilities, of which every fourth pixel is kept to half a step."""
    settle("evaluate", precision="32-true")
    segment(lists=["rest"])
    state, passport = load_checkpoint(DATA / "segmenter" / CHECKPOINT)
    net, cfg = segmenter_from(passport.architecture, state), read_sections()["evaluate"]
    found = rows()
    assert len(found) == 4
    for record in read_dataset().records:
        row, image = found[record.image_id], to_tensor(record.photograph())[None]
        wanted = predict(net, image, scales=cfg.scales, flip=cfg.flip)[0].numpy()
        assert np.array_equal(row["mask"], wanted.argmax(axis=0))
        assert row["mean_confidence"] == pytest.approx(wanted.max(axis=0).mean(), abs=1e-6)
        tagged = [CLASSES.index(tag) + 1 for tag in record.tags]
        assert list(row["class_ids"]) == sorted({0, *tagged, *np.unique(row["mask"])})
        kept = wanted[row["class_ids"], ::STRIDE, ::STRIDE]
        assert row["probabilities"].shape == kept.shape
        assert np.abs(row["probabilities"] / 255 - kept).max() <= 0.5 / STEPS + 1e-6
        for class_id in range(len(CLASSES) + 1):
            own = row["mask"] == class_id
            assert row["area"][class_id] == pytest.approx(own.mean())
            mean = wanted[class_id][own].mean() if own.any() else 0
            assert row["class_confidence"][class_id] == pytest.approx(mean, abs=1e-6)


# --- who reads them ---------------------------------------------------------------------------------------------------


def score(monkeypatch) -> dict[str, bytes]:
    """What `evaluate` writes without a report."""
    monkeypatch.setattr(evaluate, "make_report", lambda *words, **more: None)
    monkeypatch.setattr("reporting.page.write_report", lambda path, report: None)
    stage("evaluate").run()
    metrics = json.loads((DATA / "evaluation/metrics.json").read_text())
    scores = {key: value for key, value in metrics.items() if key != "measured"}
    assert {"miou/train/model", "miou/val/model"} <= scores.keys()
    truths = evaluate.pq.read_table(DATA / "evaluation/images.parquet").replace_schema_metadata(None)
    return {"metrics": json.dumps(scores).encode(), "images": str(truths.to_pydict()).encode()} | {
        name: (DATA / "evaluation" / name).read_bytes() for name in ("iou.csv", "thresholds.csv")
    }


def test_scores_are_those_of_predicting_again(line, runs, monkeypatch):
    """To the last bit; and with the rows `evaluate` runs no network, the first time or a second."""
    before = score(monkeypatch)
    assert runs() == 3
    segment()
    assert runs() == 3
    assert score(monkeypatch) == before
    assert score(monkeypatch) == before
    segment()
    assert runs() == 0


def test_what_a_network_learnt_from_is_no_new_photograph(line, monkeypatch, capsys):
    """It was moved to another list after the training: it does not count there, by its bytes and not its id."""
    dataset = read_dataset()
    write_dataset(dataclasses.replace(dataset, val_list="val"))
    change("image-3", lists=("more",), split="rest", mask_path="data/raw/true/image-2.png")
    change("image-3", mask_sha256=digest_file(Path("data/raw/true/image-2.png")))
    settle("evaluate", lists=["train", "val", "more"])
    before = json.loads(score(monkeypatch)["metrics"])
    assert [before[f"images/{split}/model"] for split in ("train", "val", "more")] == [2, 3, 1]
    photograph = next(record.sha256 for record in read_dataset().records if record.image_id == "image-3")
    write_training_rows(DATA / "segmenter", {"earlier": "r"}, {"earlier": "human"}, {"earlier": photograph}, [])
    change_passport(DATA / "segmenter" / CHECKPOINT, training_rows_digest=digest_rows([("earlier", "r")]))
    capsys.readouterr()
    after = json.loads(score(monkeypatch)["metrics"])
    assert [after.get(f"images/{split}/model") for split in ("train", "val", "more")] == [2, 3, None]
    assert after["miou/train/model"] == before["miou/train/model"]
    said = capsys.readouterr().err
    assert "left out of the score of model, which learnt from them: image-3; `labelfactory run` trains it anew" in said


def other_weights() -> None:
    path = DATA / "segmenter" / CHECKPOINT
    path.unlink()
    torch.manual_seed(1)
    init = torch.nn.init.normal_
    torch.nn.init.normal_ = lambda tensor, std: init(tensor, std=2 * std)  # type: ignore[assignment]
    try:
        tiny_segmenter(Path())
    finally:
        torch.nn.init.normal_ = init


def other_photograph() -> None:
    """One id has the photograph of another now."""
    other = next(record for record in read_dataset().records if record.image_id == "image-3")
    change("image-1", path=other.path, sha256=other.sha256)


CHANGES: dict[str, tuple[Callable[[], None], int]] = {
    "weights": (other_weights, 3),
    "scales": (lambda: settle("evaluate", scales=[0.5]), 3),
    "flip": (lambda: settle("evaluate", flip=False), 3),
    "a photograph": (other_photograph, 1),
    "tags": (lambda: change("image-1", tags=("dog",)), 0),
    "the gallery": (lambda: settle("evaluate", gallery=0), 0),
}


@pytest.mark.parametrize("what", CHANGES)
def test_rows_of_before_are_not_taken(line, runs, monkeypatch, what):
    """What the mask depends on has changed and `segment_images` has not run since: it is predicted now."""
    segment()
    edit, predicted = CHANGES[what]
    edit()
    runs()
    found = score(monkeypatch)
    assert runs() == predicted
    shutil.rmtree(PREDICTIONS)
    assert score(monkeypatch) == found
    masks = {item.record.image_id: item.digest for item in Selection("predictions")}
    segment()
    runs()
    assert {item.record.image_id: item.digest for item in Selection("predictions")} == masks
    assert runs() == 1  # image-3, which has no row


def test_an_export_of_predictions_is_that_of_predicting_again(line, runs):
    """The same masks and figures for provenance.json; what has no row is predicted with the same settings."""
    settle("evaluate", scales=[1.0], flip=False)

    def facts() -> dict[str, Any]:
        selection = Selection("predictions")
        assert len(list(selection)) == 4
        return selection.exported

    before = facts()
    assert runs() == 4
    segment()
    runs()
    assert facts() == before
    assert runs() == 1
    segment(lists=["rest"])
    runs()
    assert facts() == before
    assert runs() == 0
    settle("evaluate", flip=True)
    assert facts() != before
    assert runs() == 4


def test_pages_show_the_row(line, runs):
    """No network runs for a photograph with a row; a model of other classes is refused all the same."""
    first, *_, last = read_dataset().records
    model = ModelOnDisk()
    before = model.predict(first, CLASSES)
    segment()
    runs()
    assert np.array_equal(model.predict(first, CLASSES), before)
    assert runs() == 0
    model.predict(last, CLASSES)
    assert runs() == 1
    with pytest.raises(DataError, match="trained for the classes cat, dog"):
        model.predict(first, CLASSES[::-1])


def test_a_damaged_row_is_no_prediction(line, monkeypatch):
    """Its digest tells: nothing is scored with it, and the next run makes it again."""
    segment()
    folder = ShardFolder(PREDICTIONS)
    table = folder.table(0)
    column = table.column_names.index("mask")
    other = [MaskColumn().encode(np.full(SIZE, 1, np.uint8), "x")] * table.num_rows
    folder.write(
        0, table.set_column(column, table.schema.field("mask"), [evaluate.pa.array(other, MaskColumn().arrow_type)])
    )
    with pytest.raises(DataError, match=r"predictions/shard-00000\.parquet: damaged"):
        score(monkeypatch)


def test_other_classes_make_all_rows_anew(line, runs):
    """The numbers in a mask are those of the data set: under other names a row is of before."""
    segment()
    runs()
    write_dataset(dataclasses.replace(read_dataset(), classes=Classes((*CLASSES, "fox"))))
    with pytest.raises(DataError, match="trained for the classes cat, dog"):
        segment()
    change_passport(DATA / "segmenter" / CHECKPOINT, classes=[*CLASSES, "fox"])
    assert segment() == (3, 0)
    assert all(len(row["area"]) == len(CLASSES) + 2 for row in rows().values())
