"""Two states side by side: what was set, what came of it, how long it took."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from made_line import MadeLine

from labelfactory.dataset.tables import HEAD
from labelfactory.dvc_cache import cached
from labelfactory.errors import MissingError
from labelfactory.metrics import Confusion
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.scored import LISTS, SCORED_IMAGES, cells_to_value, pixels_column
from labelfactory.schema import Mask
from labelfactory.settings.wiring import METRICS
from lineage.artifacts import md5_of
from lineage.compare import compare_states
from lineage.lookup import Lookup
from lineage.record import record


@pytest.fixture
def two(tmp_path, monkeypatch) -> MadeLine:
    """A line that was recorded with two settings of the CRF, and scores by class of both."""
    monkeypatch.chdir(tmp_path)
    line = MadeLine()
    line.evaluate({"miou/val/model": 0.5, "iou/val/model/cat": 0.4, "iou/val/model/a/b": 0.6, "true_masks": 1})
    line.commit()
    record()
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["refine_crf"]["method"]["gt_prob"] = 0.9
    Path("params.yaml").write_text(yaml.safe_dump(params))
    line.run(refine_crf="changed", seed=1)
    line.evaluate({"miou/val/model": 0.625, "iou/val/model/cat": 0.7, "iou/val/model/a/b": 0.55, "true_masks": 1})
    line.commit()
    record()
    return line


def test_what_differs_stands_side_by_side(two):
    """The parameter, the mIoU and each class's IoU, and the seconds of the stages that both ran; `now` is the last."""
    answer = compare_states(Lookup(), "1", "now")
    assert (answer["first"], answer["second"]) == ("segmenter 1", "segmenter 2")
    changed = {(s["stage"], s["what"]): (s["first"], s["second"]) for s in answer["settings"]}
    assert changed["refine_crf", "refine_crf.method.gt_prob"] == ("0.7", "0.9")
    assert {s["name"]: (s["first"], s["second"]) for s in answer["scores"]} == {"miou/val/model": (0.5, 0.625)}
    assert {s["name"]: (s["first"], s["second"]) for s in answer["classes"]} == {
        "iou/val/model/cat": (0.4, 0.7),
        "iou/val/model/a/b": (0.6, 0.55),
    }
    seconds = {s["stage"]: (s["first"], s["second"]) for s in answer["seconds"]}
    assert all(isinstance(value, float) for value in seconds["refine_crf"])
    same = compare_states(Lookup(), "2", "latest")
    assert (same["settings"], [s for s in same["scores"] if s["first"] != s["second"]]) == ([], [])


def test_the_command_fits_eighty_columns(two, labelfactory, monkeypatch):
    """The better score is bold only where there are colours; nothing is cut."""
    monkeypatch.setenv("COLUMNS", "80")
    shown = labelfactory("compare", "1", "2")
    assert max(map(len, shown.splitlines())) <= 80
    for part in ("refine_crf.method.gt_prob", "0.7", "0.9", "62.5", "val/model/cat", "70.0", "Seconds"):
        assert part in shown


def test_masks_that_no_model_learnt_from_have_nothing_to_compare(two):
    two.run(refine_crf="once more")
    Path("data/segmenter/checkpoint.safetensors").unlink()
    with pytest.raises(MissingError, match="no recorded model learnt from exactly the masks in data/") as caught:
        compare_states(Lookup(), "1", "now")
    assert "labelfactory run" in caught.value.remedy


def test_now_is_what_data_holds_and_not_the_model_beside_it(two):
    """`run --no-retrain` after a change: the model there learnt from masks of before, made with other settings."""
    two.rows("random_walk", {}, "one step")
    two.rows("refine_crf", {}, "one step")
    two.commit()
    record()
    with pytest.raises(MissingError, match="now: no recorded model learnt from exactly the masks in data/") as caught:
        compare_states(Lookup(), "2", "now")
    assert "latest, the one in data/" in caught.value.remedy
    assert compare_states(Lookup(), "1", "latest")["second"] == "segmenter 2"


def scored(line: MadeLine, right: float, images: int = 12) -> None:
    """Leave what `evaluate` would of a model that is right in this share of the pixels of 12 images; images differ much."""
    rng, whole, rows = np.random.default_rng(0), Confusion(3), []
    for k in range(images):
        truth = rng.integers(0, 3, (40, 40), dtype=np.uint8)
        hard = rng.random() ** 2 * 0.6
        predicted: Mask = np.where(rng.random(truth.shape) < right - hard, truth, (truth + 1) % 3).astype(np.uint8)
        predicted[0], own = 255, Confusion(3)
        own.add(truth, predicted)
        whole.counts += own.counts
        whole.undecided += own.undecided
        value = MaskColumn().encode(truth, f"image-{k}")
        pixels = {pixels_column("model"): cells_to_value(own.cells())}
        rows.append({"image_id": f"image-{k}", LISTS: ["val"] if k < images - 1 else [], **pixels, "truth": value})
        if k == images - 2:
            on_list = [whole.miou(), *whole.iou()]
    keys = ("miou/val/model", *(f"iou/val/model/{name}" for name in ("background", "cat", "dog")))
    line.evaluate(dict(zip(keys, on_list, strict=True)) | {"true_masks": 12, "images/val/model": images - 1})
    head = {"measured": json.loads(METRICS.read_text())["measured"]}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata({HEAD: json.dumps(head)}), SCORED_IMAGES)
    line.commit()
    record()


@pytest.fixture
def gained(tmp_path, monkeypatch) -> MadeLine:
    """Two models that were scored on the same twelve images; the second is right more often."""
    monkeypatch.chdir(tmp_path)
    line = MadeLine(12)
    scored(line, 0.8)
    line.run(refine_crf="changed", seed=1)
    scored(line, 0.86)
    return line


def test_a_gain_has_its_interval(gained, labelfactory, monkeypatch):
    """Of the first model the images lie in DVC's cache. The gain is the difference of the scores; one over itself is nothing."""
    answer = compare_states(Lookup(), "1", "2")
    (score,) = [s for s in answer["scores"] if s["name"] == "miou/val/model"]
    gain = score["gain"]
    assert gain["value"] == pytest.approx(score["second"] - score["first"], abs=1e-4)
    assert 0 < gain["low"] < gain["value"] < gain["high"] < 0.2
    assert gain["verdict"] == "better"
    classes = {s["name"].split("/")[3]: s["gain"]["verdict"] for s in answer["classes"]}
    assert classes == dict.fromkeys(("background", "cat", "dog"), "better")
    back = compare_states(Lookup(), "2", "1")["scores"][0]["gain"]
    assert (back["value"], back["low"], back["high"], back["verdict"]) == (
        -gain["value"],
        -gain["high"],
        -gain["low"],
        "worse",
    )
    same = compare_states(Lookup(), "2", "2")["scores"][0]["gain"]
    assert same == {"value": 0.0, "low": 0.0, "high": 0.0, "verdict": "cannot be told"}
    monkeypatch.setenv("COLUMNS", "80")
    shown = labelfactory("compare", "1", "2")
    assert max(map(len, shown.splitlines())) <= 80
    assert f"+{100 * gain['value']:.1f} [{100 * gain['low']:.1f}, {100 * gain['high']:.1f}] better" in shown


def test_scores_of_other_images_are_not_held_against_each_other(gained, labelfactory):
    """The second model had learnt from an image of the list, which does not count for it."""
    gained.run(refine_crf="once more", seed=2)
    scored(gained, 0.9, images=11)
    answer = compare_states(Lookup(), "2", "3")["scores"][0]
    assert "gain" not in answer
    assert answer["note"].startswith("measured on other images")
    assert "measured on other images" in labelfactory("compare", "2", "3")


def test_no_gain_without_the_images(gained, labelfactory):
    """DVC's cache was collected, or an earlier version scored: the scores stand without intervals."""
    for path in Path(".dvc/cache/files/md5").glob("*/*"):
        path.unlink()
    answer = compare_states(Lookup(), "1", "2")
    assert all("gain" not in score for score in (*answer["scores"], *answer["classes"]))
    assert "gain" not in labelfactory("compare", "1", "2")


@pytest.mark.parametrize("damage", ["another pixel", "another image", "another list", "half"])
def test_images_that_do_not_give_the_recorded_score_give_no_gain(gained, damage):
    """Somebody changed the file of the last evaluation, whose copy in the cache is gone."""
    cached(md5_of(SCORED_IMAGES)).unlink()
    assert "gain" in compare_states(Lookup(), "1", "2")["scores"][0]
    table = pq.read_table(SCORED_IMAGES)
    rows, column = table.to_pylist(), pixels_column("model")
    if damage == "another pixel":
        rows[0][column][0]["pixels"] += 1
    elif damage == "another image":
        rows[0]["image_id"] = "image-99"
    elif damage == "another list":
        rows[11][LISTS] = ["val"]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), SCORED_IMAGES)
    if damage == "half":
        SCORED_IMAGES.write_bytes(SCORED_IMAGES.read_bytes()[:-100])
    assert "gain" not in compare_states(Lookup(), "1", "2")["scores"][0]
