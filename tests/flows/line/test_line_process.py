"""The process that talks to DVC for a flow: order, output line by line, failures, kills, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from test_flows import LABELS, LEARNING, line, set_param
from workspace import ROOT

from flows.line.dvc_process import LineProcess, LineProcessError, StageError

__all__ = ["line"]
pytestmark = pytest.mark.slow
NAMES = [LEARNING[0], LABELS[0], *LEARNING[1:], LABELS[1]]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The process that is started imports this repository, wherever the test stands."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def slow_stage(folder: Path, name: str, seconds: int = 60) -> None:
    """Let a stage say its pid and then work for a minute, or less where a test waits for its end."""
    wired = yaml.safe_load((folder / "dvc.yaml").read_text())
    program = f"import os,time;print('working as', os.getpid(), flush=True);time.sleep({seconds})"
    wired["stages"][name]["cmd"] = f'{sys.executable} -c "{program}"'
    (folder / "dvc.yaml").write_text(yaml.safe_dump(wired, sort_keys=False))


def wait_until(ready, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def run(process: LineProcess, *names: str) -> list[bool]:
    return [process.bring_up_to_date(name, force=False, hear=lambda text: None) for name in names]


def test_stages_one_by_one_are_the_line(line):
    """The order is dvc.yaml's; each runs once, then none does; a target brings what it needs and no more."""
    with LineProcess() as process:
        assert process.order([], retrain=True) == NAMES
        assert process.order(["label_affinity"], retrain=True) == NAMES[:2]
        assert run(process, *NAMES) == [True] * len(NAMES)
        assert run(process, *NAMES) == [False] * len(NAMES)
    assert (
        subprocess.run(["dvc", "repro", "--dry"], capture_output=True, text=True, check=True).stdout.count("Running")
        == 0
    )


def test_without_retraining_learning_stages_are_not_asked(line):
    """The order leaves them out, and what stays is brought up to date; without models it is the user's error."""
    with LineProcess() as process:
        with pytest.raises(StageError, match="there are no models yet") as caught:
            process.order([], retrain=False)
        assert caught.value.users
        run(process, *NAMES)
        (line / "images.txt").write_text("two")
        assert process.order([], retrain=False) == list(LABELS)
        assert run(process, *LABELS) == [True, True]
    assert (line / "train_classifier.txt").read_text() == "one1"


@pytest.mark.parametrize(("code", "users"), [(1, False), (2, True)])
def test_a_failure_says_whose_it_is_and_what_the_stage_said(line, code, users):
    """Exit code 2 is the user's, 1 ours; the process goes on and takes the same stage again."""
    wired = yaml.safe_load((line / "dvc.yaml").read_text())
    good = wired["stages"][NAMES[0]]["cmd"]
    wired["stages"][NAMES[0]]["cmd"] = f"echo working; echo 'error: too blue'; echo 'Paint it.'; exit {code}"
    (line / "dvc.yaml").write_text(yaml.safe_dump(wired, sort_keys=False))
    heard: list[str] = []
    with LineProcess() as process:
        with pytest.raises(StageError) as caught:
            process.bring_up_to_date(NAMES[0], force=False, hear=heard.append)
        assert caught.value.users is users
        assert str(caught.value).splitlines() == [f"the stage {NAMES[0]} failed", "error: too blue", "Paint it."]
        assert "working" in heard
        wired["stages"][NAMES[0]]["cmd"] = good
        (line / "dvc.yaml").write_text(yaml.safe_dump(wired, sort_keys=False))
        assert run(process, NAMES[0]) == [True]


def test_a_killed_stage_is_a_crash_and_names_the_signal(line):
    """As where memory runs out: not the user's, worth another try."""
    slow_stage(line, NAMES[0])

    def kill(text: str) -> None:
        if text.startswith("working as "):
            os.kill(int(text.split()[-1]), signal.SIGKILL)

    with LineProcess() as process, pytest.raises(StageError, match="was killed by signal 9") as caught:
        process.bring_up_to_date(NAMES[0], force=False, hear=kill)
    assert not caught.value.users


def test_a_killed_process_is_started_again(line):
    """Its end is no end of the run: the next request starts another."""
    with LineProcess() as process:
        process.order([], retrain=True)
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        assert run(process, NAMES[0]) == [True]
        slow_stage(line, NAMES[1], seconds=3)
        with pytest.raises(LineProcessError, match="ended with code -9"):
            process.bring_up_to_date(
                NAMES[1], force=False, hear=lambda text: os.kill(process._process.pid, signal.SIGKILL)
            )


def test_an_interrupted_flow_leaves_no_stage_behind(line):
    """Whatever is raised while a stage works ends the stage with it."""
    slow_stage(line, NAMES[0])
    pids: list[int] = []

    def interrupt(text: str) -> None:
        if text.startswith("working as "):
            pids.append(int(text.split()[-1]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), LineProcess() as process:
        process.bring_up_to_date(NAMES[0], force=False, hear=interrupt)
    wait_until(lambda: not psutil.pid_exists(pids[0]))


def test_a_flow_that_is_killed_takes_its_stage_with_it(line):
    """SIGKILL gives nobody time to tidy up; the process sees its input close and ends the stage."""
    slow_stage(line, NAMES[0])
    program = f"""
from flows.line.dvc_process import LineProcess
with LineProcess() as process:
    process.bring_up_to_date({NAMES[0]!r}, force=False, hear=lambda text: print(text, flush=True))
"""
    flow = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert flow.stdout is not None
    pid = next(int(text.split()[-1]) for text in flow.stdout if text.startswith("working as "))
    assert psutil.pid_exists(pid)
    flow.kill()
    flow.wait()
    flow.stdout.close()
    wait_until(lambda: not psutil.pid_exists(pid))
    set_param(line, f"{NAMES[0]}.value", 2)
