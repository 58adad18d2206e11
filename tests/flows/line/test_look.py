"""A page's look at the line never stands in the way of a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT

from app.status import status
from flows.line import stage_states as line
from flows.line.stage_states import StageState
from flows.line.status_query import look
from flows.line.under_way import RWLOCK, at_work, under_way
from labelfactory.lock import LOCKS, BusyError
from labelfactory.progress import progress
from labelfactory.work_note import read_works, working_on


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RWLOCK.parent.mkdir(parents=True)
    LOCKS.mkdir(parents=True)
    shutil.copyfile(ROOT / "dvc.yaml", "dvc.yaml")


def ended_process() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_stage_at_work_is_seen_and_a_killed_one_is_not(here):
    """By the process that DVC's own file names; only writers count."""
    assert not at_work()
    writer = {"pid": os.getpid(), "cmd": "dvc repro"}
    for write, expected in (({"/x": writer}, True), ({"/x": {**writer, "pid": ended_process()}}, False), ({}, False)):
        RWLOCK.write_text(json.dumps({"write": write, "read": {"/y": [writer]}}))
        assert at_work() == expected


@pytest.mark.parametrize("content", ["", "{", "[]", '{"write": []}', '{"write": {"x": 1}}', "null"])
def test_a_file_that_is_being_written_is_no_stage(here, content):
    RWLOCK.write_text(content)
    assert not at_work()


def test_dvc_is_not_asked_while_a_stage_is_at_work(here, monkeypatch):
    """It would take the lock that the run is about to need."""
    asked = []

    def status():
        asked.append(1)
        return [StageState("prepare", "stale", ("data/import: modified",))]

    monkeypatch.setattr(line, "line_status", status)
    RWLOCK.write_text(json.dumps({"write": {"/x": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    assert look() == {"running": True, "stages": [], "run": ["it is between two stages"]}
    assert not asked
    RWLOCK.unlink()
    stage = {"name": "prepare", "state": "stale", "reasons": ("data/import: modified",)}
    assert look() == {"running": False, "stages": [stage]}


def test_status_shows_how_far_a_stage_is(here, monkeypatch, capsys):
    """The stage, its images and the time left, from its own progress; then what may follow, as it last ran."""
    monkeypatch.chdir(Path.cwd())
    Path("params.yaml").write_text("{}")
    Path("data/reports").mkdir(parents=True)
    pace = {"seconds": 60, "peak_memory_mb": 1, "pace": {"units": 9, "seconds": 720.0}}
    Path("data/reports/evaluate.json").write_text(json.dumps(pace))
    RWLOCK.write_text(json.dumps({"write": {"/x/data/masks": {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    assert under_way()[0] == "refine_crf: it starts, or DVC notes what it made"
    with working_on("refine_crf"):
        assert [work.stage for work in read_works()] == ["refine_crf"]
        with progress("refine_crf", 40) as tick:
            tick(40)
        assert under_way()[0] == "refine_crf: 40 of 40 images, about 0 s left"
        assert under_way()[1].startswith("after it at most ")
        assert "12 min, if they take as long as last time" in under_way()[1]
        status()
        assert "A run is under way.\n  refine_crf: 40 of 40 images" in capsys.readouterr().out
    assert read_works() == []
    assert not list(LOCKS.glob("*.work"))


def test_a_run_between_two_stages_is_no_refusal(here, monkeypatch, capsys):
    """DVC's lock is held, and no stage is at work."""
    Path("params.yaml").write_text("{}")

    def busy():
        raise BusyError("another run in this folder holds DVC's lock")

    monkeypatch.setattr("flows.line.stage_states.line_status", busy)
    monkeypatch.setattr(line, "line_status", busy)
    status()
    assert "A run is under way." in capsys.readouterr().out
    assert look() == {"running": True, "stages": [], "run": []}


def test_the_note_of_a_killed_stage_says_nothing(here):
    with working_on("refine_crf"):
        note = (LOCKS / "refine_crf.work").read_text()
    (LOCKS / "refine_crf.work").write_text(json.dumps({**json.loads(note), "pid": ended_process()}))
    assert read_works() == []
    (LOCKS / "refine_crf.work").write_text("{")
    assert read_works() == []
