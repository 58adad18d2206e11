"""Two states side by side: what was set, what came of it, how long it took."""

from pathlib import Path

import pytest
import yaml
from made_line import MadeLine

from labelfactory.errors import MissingError
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
