"""What was made on another machine and pulled keeps the time and the host that it was made at: files have those of the pull."""

import json
import os
import time
from pathlib import Path

import pytest
from made_line import DATA, MadeLine

from labelfactory.errors import DataError
from labelfactory.settings.reports import read_report
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record

MADE = "2026-11-20T08:00:00.500+00:00"
HOST = "where-it-was-made"


@pytest.fixture
def pulled(tmp_path, monkeypatch) -> MadeLine:
    """A line whose reports say when and where, on a machine that pulls it a day later and records it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setattr("lineage.executions.platform.node", lambda: "where-it-was-pulled")
    line = MadeLine()
    tell({"ended": [{"time": MADE, "host": HOST}]})
    line.commit()
    for path in (path for folder in (DATA, Path(".dvc")) for path in folder.rglob("*") if path.is_file()):
        os.utime(path)
    record()
    return line


def tell(figures: dict) -> None:
    """Add something to the report of each stage."""
    for path in (DATA / "reports").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | figures))


def test_networks_and_executions_have_the_time_at_which_they_were_made(pulled):
    for event in Ledger().events("execution"):
        assert event["detail"]["ended"] == MADE
        assert event["detail"]["started"] == "2026-11-20T07:59:59.000+00:00"
        assert event["detail"]["tags"]["host"] == HOST
    assert {model.time.isoformat() for model in Lookup().models.values()} == {"2026-11-20T08:00:00+00:00"}
    assert [model.label for model in Lookup().models.values()] == ["classifier 1", "affinity 1", "segmenter 1"]


def test_a_stage_that_ran_again_without_training_makes_no_network_younger(pulled):
    """Its report is of later; so is that of a version that says no time, whose files tell."""
    line, before = pulled, time.time()
    tell({"ended": [{"time": "2030-01-01T00:00:00+00:00", "host": HOST}]})
    record()
    assert {model.time.isoformat() for model in Lookup().models.values()} == {"2026-11-20T08:00:00+00:00"}
    line.run(seed=3)
    record()
    newest = Lookup().model("2")
    assert before - 1 <= newest.time.timestamp() <= time.time()
    (detail,) = [e["detail"] for e in Ledger().events("execution") if e["subject"] == newest.run]
    assert detail["tags"]["host"] == "where-it-was-pulled"


@pytest.mark.parametrize(
    "wrong", [{"time": "yesterday", "host": HOST}, {"time": "2026-11-20T08:00:00", "host": HOST}, {}]
)
def test_a_time_that_is_none_is_damage(pulled, wrong):
    tell({"ended": [wrong]})
    with pytest.raises(DataError, match="ended"):
        read_report("prepare")
