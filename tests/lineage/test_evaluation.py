"""An evaluation by hand: which digests a figure belongs to, and what a file that is none is taken for."""

import json
from pathlib import Path

import pytest
from workspace import ROOT

from labelfactory.digests import digest_file
from labelfactory.settings.wiring import METRICS, read_wiring
from lineage.artifacts import live_artifacts
from lineage.evaluation import Evaluation, evaluation_of, measured_in, present, read_evaluation, subjects

STATES = [
    {"name": "cams", "kind": "rows", "digest": "c", "rows": 2},
    {"name": "seed_thresholds", "kind": "thresholds", "digest": "t", "rows": 1},
    {"name": "segmenter", "kind": "model", "digest": "s", "rows": 2},
    {"name": "train", "kind": "list", "digest": "l", "rows": 2},
    {"name": "inference", "kind": "settings", "digest": "i", "rows": 0},
    {"name": "refine_crf", "kind": "settings", "digest": "r", "rows": 0, "values": {"scale": 1.0}},
]
DIGESTS = {"cams": "c", "seed_thresholds": "t", "segmenter": "s", "list train": "l"}
FIGURES = {
    "miou/train/seeds": 0.1,
    "miou/train/seeds_at_best_threshold": 0.2,
    "iou/train/seeds/a/b": 0.3,
    "miou/train/model": 0.4,
    "threshold/seeds": 0.5,
}


@pytest.fixture(autouse=True)
def _wired(tmp_path, monkeypatch) -> None:
    """The shipped line, in which nothing has run."""
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("changed", "left"),
    [
        ("", set(FIGURES)),
        ("cams", {"miou/train/model"}),
        ("seed_thresholds", {"miou/train/seeds_at_best_threshold", "miou/train/model"}),
        ("segmenter", {"miou/train/seeds", "miou/train/seeds_at_best_threshold", "iou/train/seeds/a/b"}),
        ("list train", set()),
    ],
)
def test_a_figure_belongs_to_its_output_its_threshold_and_its_list(changed, left):
    """Any other digest, or none, and it is not shown; a figure of no output alone needs all of them."""
    evaluation = evaluation_of(FIGURES, STATES)
    assert (evaluation.inference, evaluation.settings) == ("i", {"refine_crf": ("r", {"scale": 1.0})})
    for digests in (DIGESTS | {changed: "other"}, {n: d for n, d in DIGESTS.items() if n != changed}):
        assert set(evaluation.of(digests)) == left
        assert (evaluation.why_not(digests) == "") == (changed == "")


def test_every_score_of_the_line_has_an_output():
    """No scored stage of dvc.yaml is missed: each of its figures depends on its own output."""
    for stage in read_wiring().scored:
        needed = subjects(f"miou/val/{stage.meta.scores.name}")
        assert needed is not None
        assert {stage.noun, "list val"} <= needed
    assert subjects("affinity_labels/train/accuracy") == {"affinity_labels", "list train"}
    assert subjects("something/new") is None
    assert subjects("true_masks") is None


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{",
        "[" * 100_000,
        '"measured"',
        json.dumps(FIGURES),
        json.dumps({**FIGURES, "measured": "x"}),
        json.dumps({**FIGURES, "measured": ["x"]}),
        json.dumps({**FIGURES, "measured": [{"name": "cams"}]}),
        json.dumps({**FIGURES, "measured": [{**STATES[0], "digest": 7}]}),
        json.dumps({**FIGURES, "measured": [{**STATES[-1], "values": []}]}),
    ],
)
def test_what_does_not_say_what_it_measured_belongs_to_nothing(content):
    """No file, half a file, a file of an earlier version, and shapes that `evaluate` never writes."""
    if content is not None:
        METRICS.parent.mkdir(parents=True)
        METRICS.write_text(content)
    evaluation = read_evaluation()
    assert evaluation.of(DIGESTS) == evaluation.of({}) == {}
    assert evaluation.names(DIGESTS) == set()


def test_figures_that_are_not_finite_are_left_out():
    """NaN where no class occurs, and what is no number."""
    evaluation = evaluation_of({"miou/train/seeds": float("nan"), "miou/train/model": 0.4, "x": "y", "z": True}, STATES)
    assert evaluation.figures == {"miou/train/model": 0.4}


def test_a_name_in_a_file_is_no_path(tmp_path):
    """Only outputs of the line and lists are looked for."""
    Path("outside").mkdir()
    evaluation = Evaluation({"miou/train/seeds": 0.1}, {"../outside": "d", "/etc": "d", "list ../x": "d"})
    assert present(evaluation) == {}
    assert measured_in({"measured": STATES}) == STATES


def test_scores_that_somebody_changed_are_nobodys(tmp_path):
    """Neither shown nor recorded; the stage's report names the file that it wrote."""
    METRICS.parent.mkdir(parents=True)
    METRICS.write_text(json.dumps(FIGURES | {"measured": STATES}))
    report = {"stage": "evaluate", "seconds": 1, "peak_memory_mb": 1}
    report["made"] = [{"name": METRICS.as_posix(), "kind": "scores", "digest": digest_file(METRICS), "rows": 0}]
    (tmp_path / "data/reports").mkdir()
    (tmp_path / "data/reports/evaluate.json").write_text(json.dumps(report))
    assert read_evaluation().figures == FIGURES
    assert [artifact.path for artifact in live_artifacts()] == [METRICS]
    METRICS.write_text(METRICS.read_text().replace("0.4", "0.9"))
    assert read_evaluation().figures == {}
    assert "metrics.json was changed after `evaluate` wrote it" in read_evaluation().why_not({})
    assert list(live_artifacts()) == []
