"""A program that starts warm is what it would be cold: its words, folder, code, environment, streams and end."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from warm_python import COLD, warm_python

PROBE = """
import json, logging, multiprocessing, os, sys, threading
from answer import ANSWER

def child(number):
    return number + ANSWER

if __name__ == "__main__":
    said = json.loads(sys.stdin.read())
    if "sleep" in said:
        print(os.getpid(), flush=True)
        threading.Event().wait(60)
    if "signal" in said:
        os.kill(os.getpid(), said["signal"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        number = pool.apply(child, (1,))
    told = {"words": sys.argv[1:], "folder": os.getcwd(), "set": os.environ.get("PROBED"), "number": number}
    told |= {"handlers": len(logging.root.handlers), "level": logging.root.level}
    print(json.dumps(told | {"name": __name__, "file": os.path.basename(__file__), "spec": __spec__.name}))
    print("to the other stream", file=sys.stderr)
    if "raise" in said:
        raise ValueError("of its own")
    sys.exit(said.get("exit", 0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stage and code of its own."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text("")
    (tmp_path / "stages/probe.py").write_text(PROBE)
    (tmp_path / "answer.py").write_text("ANSWER = 42\n")
    return tmp_path


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """The stage of that folder, warm unless the environment says otherwise."""
    return subprocess.Popen(
        [str(warm_python() / "python"), "-m", "stages.probe", "a", "b c"],
        cwd=folder,
        env={**os.environ, "PROBED": "yes", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def sleeping(folder: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """A caller whose program is in the middle of something, and that program."""
    caller = start(folder)
    assert caller.stdin
    assert caller.stdout
    caller.stdin.write(json.dumps({"sleep": 1}))
    caller.stdin.close()
    return caller, psutil.Process(int(caller.stdout.readline()))


def close(caller: subprocess.Popen[str]) -> None:
    """Its ends of the pipes."""
    for stream in (caller.stdout, caller.stderr):
        if stream:
            stream.close()


@pytest.mark.parametrize("cold", [{}, {COLD: "1"}])
@pytest.mark.parametrize(("asked", "code"), [({}, 0), ({"exit": 3}, 3), ({"raise": 1}, 1)])
def test_a_warm_program_is_a_cold_one(folder, asked, code, cold):
    """Processes that it spawns find its code too."""
    program = start(folder, **cold)
    out, err = program.communicate(json.dumps(asked), timeout=120)
    assert program.returncode == code, err
    told = {"words": ["a", "b c"], "folder": str(folder), "set": "yes", "number": 43}
    told |= {"handlers": 0, "level": logging.WARNING}
    assert json.loads(out) == told | {"name": "__main__", "file": "probe.py", "spec": "stages.probe"}
    assert "to the other stream" in err
    assert ("ValueError: of its own" in err) == ("raise" in asked)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_ends_by_the_signal_that_ended_its_program(folder, number):
    """As DVC would see it."""
    program = start(folder)
    program.communicate(json.dumps({"signal": number}), timeout=60)
    assert program.returncode == -number


def test_a_killed_caller_takes_its_program_along(folder):
    """Nothing is left to write after a test has killed what it started."""
    caller, program = sleeping(folder)
    caller.kill()
    caller.wait(30)
    deadline = time.monotonic() + 30
    while program.is_running() and program.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not program.is_running() or program.status() == psutil.STATUS_ZOMBIE
    close(caller)


def test_who_ends_the_caller_ends_its_program_as_gently(folder):
    """SIGTERM, as `down` and Prefect's workers send it, reaches the program, which has a process group of its own."""
    caller, program = sleeping(folder)
    assert os.getpgid(program.pid) == program.pid
    caller.terminate()
    assert caller.wait(30) == -signal.SIGTERM
    assert not program.is_running()
    close(caller)


def test_all_else_is_the_interpreter_itself():
    """Other modules and other code, with all that is installed; what they start with `sys.executable` may be warm."""
    asked = "import sys, numpy; print(sys.executable, sys.version, 'torch' in sys.modules, numpy.__version__, sep='|')"
    words = [str(warm_python() / "python"), "-c", asked]
    said = subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()
    assert said == f"{warm_python() / 'python'}|{sys.version}|False|{np.__version__}"
    said = subprocess.run(
        words, capture_output=True, text=True, timeout=60, env={**os.environ, COLD: "1"}
    ).stdout.strip()
    assert said == f"{sys.executable}|{sys.version}|False|{np.__version__}"
