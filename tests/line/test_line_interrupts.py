"""Ctrl-C, SIGTERM and a killed parent in the middle of a shard: what is done is kept, one message, exit 130, no process left."""

import os
import re
import signal
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from interrupting import interrupted, said
from once import once
from small_line import finished_line
from starts import starts
from workspace import call, copy_workspace

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(900)]

STAGE, NOUN = "label_affinity", "affinity_labels"
LOG = "computed.log"
ENOUGH = 4
"""Rows after which the signal is sent."""
SLOWLY = f"""
        import time
        from pathlib import Path

        with Path("{LOG}").open("a") as log:
            log.write(sample.record.image_id + "\\n")
        time.sleep(0.25)
"""
DOCSTRING = re.compile(r'    def process\(.*\n        """.*"""\n')
COMMANDS = {
    "run": ["labelfactory", "run", STAGE],
    "repro": ["dvc", "repro", STAGE],
    "stage": ["python", "-m", f"stages.{STAGE}"],
}


@starts("starts_program")
def slow_line() -> Path:
    """A finished line whose affinity labels are stale: all in one shard, four images a second, each noted in LOG."""

    def make(folder: Path) -> None:
        copy_workspace(finished_line(), folder)
        stage = folder / f"stages/{STAGE}.py"
        text = stage.read_text()
        (docstring,) = DOCSTRING.findall(text)
        stage.write_text(text.replace(docstring, docstring + SLOWLY))

    return once("slow", make)


def undisturbed() -> Path:
    """The same line after a run that nobody interrupted."""

    def make(folder: Path) -> None:
        copy_workspace(slow_line(), folder)
        call(folder, "python", "-m", f"stages.{STAGE}")

    return once("undisturbed", make)


def computed(folder: Path) -> list[str]:
    """Images that were processed, in order."""
    log = folder / LOG
    return log.read_text().split() if log.exists() else []


def has_begun(folder: Path) -> bool:
    return len(computed(folder)) >= ENOUGH


def payload(folder: Path) -> bytes:
    return (folder / f"data/{NOUN}/shard-00000.parquet").read_bytes()


@pytest.mark.parametrize(
    ("command", "send", "number", "workers"),
    [
        ("run", os.killpg, signal.SIGINT, 1),
        ("run", os.killpg, signal.SIGINT, 2),
        ("run", os.kill, signal.SIGINT, 1),
        ("run", os.kill, signal.SIGTERM, 2),
        ("repro", os.killpg, signal.SIGINT, 2),
        ("repro", os.kill, signal.SIGTERM, 1),
        ("stage", os.killpg, signal.SIGINT, 1),
        ("stage", os.kill, signal.SIGTERM, 2),
    ],
)
def test_an_interruption_costs_the_images_in_hand(tmp_path, command, send, number, workers):
    """The message counts what is kept, the next run computes the rest, and the bytes are those of an undisturbed run."""
    folder = copy_workspace(slow_line(), tmp_path / "line")
    words, recorded = COMMANDS[command], (folder / "dvc.lock").read_bytes()
    code = interrupted(folder, words, partial(has_begun, folder), send, number, workers=workers)
    text = said(folder)
    assert "Traceback" not in text
    assert (folder / "dvc.lock").read_bytes() == recorded, "DVC takes the stage for done"
    if command != "repro":  # DVC has exit codes of its own
        assert code == 130, text
    (message,) = re.findall("^Interrupted.*$", text, re.MULTILINE)
    done, total, typed = re.fullmatch(r"Interrupted; (\d+) of (\d+) done are kept\. Go on with: (.*)", message).groups()
    assert int(done) >= ENOUGH - workers
    assert int(done) >= len(computed(folder)) - workers
    if (command, number) != ("repro", signal.SIGTERM):  # DVC is gone before its stage can ask what was typed
        assert typed == " ".join(words)

    first = set(computed(folder))
    call(folder, "python", "-m", f"stages.{STAGE}")
    again = computed(folder)[len(first) :]
    assert len(again) == int(total) - int(done)
    assert payload(folder) == payload(undisturbed())
    assert not list((folder / f"data/{NOUN}").glob(".*"))
    assert pq.read_metadata(folder / f"data/{NOUN}/shard-00000.parquet").num_rows == int(total)


@pytest.mark.parametrize("command", ["run", "repro"])
def test_a_stage_ends_with_the_command_that_was_killed(tmp_path, command):
    """SIGKILL to `labelfactory run` or DVC alone: the stage keeps what it has and is gone."""
    folder = copy_workspace(slow_line(), tmp_path / "line")
    interrupted(folder, COMMANDS[command], partial(has_begun, folder), os.kill, signal.SIGKILL)
    assert "Traceback" not in said(folder)
    # on a slow machine the stage may have ended before it saw that
    all_done = len(computed(folder)) == pq.read_metadata(folder / f"data/{NOUN}/shard-00000.parquet").num_rows
    assert all_done or list((folder / f"data/{NOUN}").glob(".*.part"))


@pytest.mark.parametrize(("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_an_interrupted_sweep_keeps_its_variants(tmp_path, send, number):
    """The stage of a variant, in a folder and a session of its own, ends too."""
    folder = copy_workspace(slow_line(), tmp_path / "line")
    words = ["labelfactory", "sweep", f"{STAGE}.method.crf.steps=2,3"]

    def ready() -> bool:
        return any(has_begun(log.parent) for log in (folder / ".dvc/tmp/exps").rglob(LOG))

    assert interrupted(folder, words, ready, send, number) == 130, said(folder)
    assert "Traceback" not in said(folder)
    (message,) = re.findall("^Interrupted.*$", said(folder), re.MULTILINE)
    assert message == f"Interrupted; 0 of 2 variants done are kept. Go on with: {' '.join(words)}"
