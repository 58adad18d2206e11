"""Figures after real runs: a target upstream, another run, a sweep."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from workspace import call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def asked(folder: Path, *words: str) -> Any:
    """What `labelfactory audit … --json` answers."""
    return json.loads(call(folder, "labelfactory", "audit", *words, "--json"))


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "data/evaluation/metrics.json").read_text())


def cells(table: str, stage: str) -> list[str]:
    """The cells of a stage in the line's table, in the order of the columns; text in several lines is joined."""
    lines = [re.split("[│┃]", line)[1:-1] for line in table.splitlines() if line.startswith("│")]
    start = next(n for n, line in enumerate(lines) if line[0].strip() == stage)
    rows = [lines[start]]
    for line in lines[start + 1 :]:
        if line[0].strip():
            break
        rows.append(line)
    return [" ".join(part.strip() for part in column if part.strip()) for column in zip(*rows, strict=True)]


def test_a_target_upstream_leaves_no_score_of_before_beside_new_rows(finished):
    """`run extract_cams` prints that seeds are not measured and keeps what was not made again; the next run measures all."""
    call(finished, "labelfactory", "record")
    old = metrics(finished)
    first = asked(finished, "model", "1")["scores"]
    assert first["miou/train/masks"] == round(old["miou/train/masks"], 4)
    call(finished, "labelfactory", "profile", "--set", "extract_cams.flip=true")
    table = call(finished, "labelfactory", "run", "extract_cams").partition("The line")[2]
    assert cells(table, "extract_cams")[3] == "not measured"
    assert cells(table, "refine_crf")[3] == f"{100 * old['miou/train/masks']:.1f}"
    assert "Not measured: cams changed after the last `evaluate`." in table
    assert "of earlier outputs" in table
    assert cells(call(finished, "labelfactory", "report").partition("The line")[2], "extract_cams")[3] == "not measured"

    table = call(finished, "labelfactory", "run").partition("The line")[2]
    new = metrics(finished)
    assert cells(table, "extract_cams")[3] == f"{100 * new['miou/train/seeds']:.1f}"
    assert "ot measured" not in table
    answer = asked(finished, "diff", "1", "2")
    settings = {item["what"]: (item["first"], item["second"]) for item in answer["settings"]}
    assert settings["extract_cams.flip"] == ("false", "true")
    for item in answer["scores"]:
        assert (item["first"], item["second"]) == (round(old[item["name"]], 4), round(new[item["name"]], 4)), item
    assert {f"miou/train/{name}" for name in ("seeds", "walks", "masks", "model")} <= {
        s["name"] for s in answer["scores"]
    }
    assert asked(finished, "model", "1")["scores"] == first
    assert "digest" not in call(finished, "dvc", "metrics", "show"), "DVC shows figures alone"


def test_a_default_that_is_set_is_named_with_the_value_that_it_had(finished):
    """The first side has the default of the method's file; the code that ran is the same."""
    call(finished, "labelfactory", "record")
    call(finished, "labelfactory", "profile", "--set", "refine_crf.method.crf.gaussian_compat=1")
    call(finished, "labelfactory", "run")
    (setting,) = asked(finished, "diff", "1", "2")["settings"]
    assert setting["what"] == "refine_crf.method.crf.gaussian_compat"
    assert float(setting["first"]) != float(setting["second"]) == 1
    (setting,) = asked(finished, "diff", "1", "now")["settings"]
    assert setting["what"] == "refine_crf.method.crf.gaussian_compat"


@pytest.mark.endurance
def test_a_model_of_a_sweep_has_its_own_scores_and_settings(finished):
    """It is not `latest`; its scores are those of its experiment; the difference names what was swept, with both values."""
    call(finished, "labelfactory", "record")
    before, first = metrics(finished), asked(finished, "model", "latest")
    call(finished, "labelfactory", "sweep", "refine_crf.method.crf.bilateral_compat=3")
    (table,) = (finished / "data/sweeps").glob("*/table.csv")
    head, row = (line.split(",") for line in table.read_text().splitlines()[:2])
    swept = dict(zip(head, row, strict=True))
    call(finished, "labelfactory", "record")
    assert asked(finished, "model", "latest")["model"] == first["model"] == "segmenter 1"
    assert asked(finished, "model", "1")["scores"] == first["scores"]
    second = asked(finished, "model", "2")
    assert second["aliases"] == []
    for name in ("miou/train/masks", "miou/val/model"):
        assert second["scores"][name] == round(float(swept[name]), 4), name
    assert second["scores"]["miou/train/masks"] != first["scores"]["miou/train/masks"]
    answer = asked(finished, "diff", "1", "2")
    (setting,) = [item for item in answer["settings"] if item["stage"] == "refine_crf"]
    assert setting["what"] == "refine_crf.method.crf.bilateral_compat"
    assert (float(setting["first"]), float(setting["second"])) == (10, 3)
    assert metrics(finished) == before
