"""Optional stages of the line, turned on and off again: the teacher and the upper bound."""

import json

import pytest
from line_outputs import digests
from small_line import ran
from workspace import call

from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.rows.shards import ShardFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_teacher_walks_in_place_of_the_cams(finished):
    """Turned on, it is trained on the affinity labels, its scores walk, and the model names it; turned off, all is as before."""
    before, cams = digests(finished), ShardFolder(finished / "data/cams")
    call(finished, "labelfactory", "profile", "--set=train_teacher.enabled=true")
    started = ran(call(finished, "dvc", "repro"), finished)
    assert started[0] == "train_teacher"
    assert started[1] == "random_walk"
    assert "train_segmenter" in started
    taught = digests(finished)
    assert all(taught[name] == before[name] for name in before if not name.startswith(("walk", "masks", "segmenter")))
    teacher = read_passport(finished / "data/teacher" / CHECKPOINT)
    assert teacher.supervision == ["tags"]
    assert teacher.params["epochs"] == 1
    walks = ShardFolder(finished / "data/walks").table(0).to_pylist()
    tagged = [
        row for row in walks if cams.states(0)[row["image_id"]].status == "ok" and json.loads(row["inputs"])["tags"]
    ]
    assert tagged
    assert all(taught[f"walks/{row['image_id']}"] != before[f"walks/{row['image_id']}"] for row in tagged)
    for row in walks:
        inputs = json.loads(row["inputs"])
        assert inputs["teacher"] == teacher.weights_digest
        assert "thresholds" not in inputs
    model = read_passport(finished / "data/segmenter" / CHECKPOINT)
    assert model.parents["teacher"] == teacher.weights_digest
    call(finished, "labelfactory", "export", "voc", "--out", "taught")
    stated = json.loads((finished / "taught/provenance.json").read_text())
    assert stated["checkpoints"]["teacher"]["weights_digest"] == teacher.weights_digest
    call(finished, "labelfactory", "profile", "--set=train_teacher.enabled=false")
    call(finished, "dvc", "repro")
    assert [file.name for file in (finished / "data/teacher").iterdir()] == ["curve.csv"]
    assert digests(finished) == before


def test_the_upper_bound_learns_from_true_masks(finished):
    """The same net, schedule and images; its passport says *masks*, the line's do not, and the model is held against it."""
    before = digests(finished)
    call(finished, "labelfactory", "profile", "--set=train_upper_bound.enabled=true")
    assert ran(call(finished, "dvc", "repro"), finished) == ["train_upper_bound", "evaluate"]
    bound, model = (read_passport(finished / "data" / noun / CHECKPOINT) for noun in ("upper_bound", "segmenter"))
    assert ("masks" in bound.supervision, "masks" in model.supervision) == (True, False)
    assert (bound.params, bound.architecture, bound.training_rows) == (
        model.params,
        model.architecture,
        model.training_rows,
    )
    scores = json.loads((finished / "data/evaluation/metrics.json").read_text())
    assert 0 < scores["miou/val/upper_bound"] <= 1
    assert scores["fraction_of_supervised"] == pytest.approx(scores["miou/val/model"] / scores["miou/val/upper_bound"])
    assert digests(finished) == before
