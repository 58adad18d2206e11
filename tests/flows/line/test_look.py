"""A page's look at the line never stands in the way of a run."""

import json
import os
import subprocess
import sys

import pytest

from flows.line import stage_states as line
from flows.line.stage_states import StageState
from flows.line.status_query import RWLOCK, at_work, look


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RWLOCK.parent.mkdir(parents=True)


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
    assert look() == {"running": True, "stages": []}
    assert not asked
    RWLOCK.unlink()
    stage = {"name": "prepare", "state": "stale", "reasons": ("data/import: modified",)}
    assert look() == {"running": False, "stages": [stage]}
