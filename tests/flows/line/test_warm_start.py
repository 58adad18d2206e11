"""A stage that is forked from the warm parent is what `python -m stages.<name>` is when DVC starts it."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from starts import starts

from flows.line import warm_parent, warm_start
from flows.line.warm_start import Starts
from labelfactory.interrupt import is_alive

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not warm_start.FORKS_SAFELY, reason="stages are forked on Linux only"),
]

ROOT = Path(__file__).resolve().parents[3]
BASH = ("/bin/bash", "--noprofile", "--norc", "-c")
PROBE = """
import json, os, pickle, signal, sys, threading, time
from answer import ANSWER

def of_main():
    return ANSWER

if __name__ == "__main__":
    said = json.load(open("said.json"))
    if "sleep" in said:
        open("begun", "w").write(str(os.getpid()))
        time.sleep(60)
    if "signal" in said:
        os.kill(os.getpid(), said["signal"])
    import numpy, torch
    signals = [*range(1, 32)]
    told = {
        "argv": sys.argv, "orig_argv": sys.orig_argv, "executable": sys.executable, "flags": list(sys.flags), "path": sys.path,
        "folder": os.getcwd(), "environment": dict(os.environ), "umask": os.umask(0o22), "group": os.getpgid(0) - os.getsid(0),
        "session": os.getsid(0), "parent": os.getppid(), "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "handlers": [str(signal.getsignal(n)) for n in signals], "wakeup": signal.set_wakeup_fd(-1),
        "files": sorted(os.listdir("/proc/self/fd")), "streams": [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)],
        "buffering": [(s.line_buffering, s.write_through, s.encoding, s.errors) for s in (sys.stdin, sys.stdout, sys.stderr)],
        "main": [__name__, os.path.relpath(__file__), __spec__.name, sys.modules["__main__"].of_main() is ANSWER],
        "pickled": pickle.dumps(of_main).hex(), "threads": [t.name for t in threading.enumerate()],
        "shown": [w for w in open("/proc/self/cmdline").read().split(chr(0)) if w],
        "nice": os.nice(0), "torch": [torch.get_num_threads(), torch.get_num_interop_threads()],
        "cuda": torch.cuda.is_initialized(), "answer": ANSWER,
        "limits": open("/proc/self/limits").read(), "oom": open("/proc/self/oom_score_adj").read(),
    }
    open("told.json", "w").write(json.dumps(told))
    open("random", "a").write(f"{numpy.random.rand()} {float(torch.rand(()))}\\n")
    print("to the one stream")
    print("to the other stream", file=sys.stderr)
    if "raise" in said:
        raise ValueError("of its own")
    sys.exit(said.get("exit", 0))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a stage and code of its own."""
    return _with_a_stage(tmp_path)


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of several tests, which so have the same parent."""
    return _with_a_stage(tmp_path_factory.mktemp("shared"))


def _with_a_stage(folder: Path) -> Path:
    (folder / "stages").mkdir()
    (folder / "stages/__init__.py").write_text("")
    (folder / "stages/probe.py").write_text(PROBE)
    (folder / "answer.py").write_text("ANSWER = 42\n")
    (folder / "said.json").write_text("{}")
    return folder


@pytest.fixture
def warm() -> Iterator[Starts]:
    """Starts of a run."""
    starts = Starts()
    yield starts
    starts.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Starts]:
    """Those of several tests, which do the parent no harm."""
    starts = Starts()
    yield starts
    starts.close()


def options(folder: Path, **variables: str) -> dict[str, Any]:
    """How DVC starts a stage's command."""
    environment = {**os.environ, "DVC_STAGE": "probe", "PYTHONUNBUFFERED": "", "PYTHONPATH": str(ROOT), **variables}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return {"cwd": str(folder), "env": environment, "close_fds": True, "shell": False}


@starts("starts_program")
def ended(start: Callable[..., Any], folder: Path, **said: Any) -> int:
    """Run the stage to its end. Gives its exit code."""
    (folder / "said.json").write_text(json.dumps(said))
    return ended_with(start, options(folder))


def ended_with(start: Callable[..., Any], how: dict[str, Any]) -> int:
    process = start([*BASH, "python -m stages.probe"], **how)
    process.communicate()
    code: int = process.returncode
    return code


def told(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


def is_warm(starts: Starts) -> bool:
    """Whether the last stage was forked."""
    return starts._parent is not None


def parent_of(starts: Starts) -> psutil.Process:
    assert starts._parent
    return psutil.Process(starts._parent._process.pid)


@pytest.fixture
def blocked() -> Iterator[None]:
    """Signals wait, as in the thread in which DVC runs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("blocked")
def test_a_warm_stage_is_a_cold_one(shared_folder, shared, capfd):
    """All that a program can ask of itself, its parent included; its output arrives in the same streams."""
    assert ended(subprocess.Popen, shared_folder) == 0
    cold, printed = told(shared_folder), capfd.readouterr()
    assert ended(shared.start, shared_folder) == 0
    assert is_warm(shared)
    assert told(shared_folder) == cold
    assert cold["parent"] == os.getpid()
    assert capfd.readouterr() == printed
    assert "to the other stream" in printed.err


@pytest.mark.parametrize(
    ("said", "code"),
    [({"exit": 3}, 3), ({"exit": "text"}, 1), ({"raise": 1}, 1), *(({"signal": n}, -n) for n in (9, 15))],
)
def test_it_ends_as_a_cold_one(shared_folder, shared, capfd, said, code):
    """Exit codes, signals, and the traceback of a bug."""
    assert ended(subprocess.Popen, shared_folder, **said) == code
    cold = capfd.readouterr().err.splitlines()
    assert ended(shared.start, shared_folder, **said) == code
    assert is_warm(shared)
    assert capfd.readouterr().err.splitlines()[-1:] == cold[-1:]


def test_stages_share_a_parent_and_nothing_else(shared_folder, shared):
    """Code that changed between two stages is what the second one runs; unseeded random numbers differ; DVC names the stage."""
    assert ended(shared.start, shared_folder) == 0
    first = parent_of(shared)
    (shared_folder / "answer.py").write_text("ANSWER = 43 + 0\n")
    assert ended_with(shared.start, options(shared_folder, DVC_STAGE="other")) == 0
    assert parent_of(shared) == first
    assert told(shared_folder)["answer"] == 43
    assert told(shared_folder)["environment"]["DVC_STAGE"] == "other"
    numbers = (shared_folder / "random").read_text().split()
    assert len(set(numbers)) == len(numbers)


def test_another_environment_gets_another_parent(folder, warm):
    """Libraries read variables when they are loaded."""
    assert ended(warm.start, folder) == 0
    first = parent_of(warm)
    threads = "1" if told(folder)["torch"][0] > 1 else "2"
    variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    assert ended_with(warm.start, options(folder, **variables)) == 0
    assert parent_of(warm) != first
    assert not first.is_running()
    assert variables.items() <= told(folder)["environment"].items()
    assert told(folder)["torch"][0] == int(threads)


def test_a_changed_library_gets_another_parent(folder, warm):
    """What was installed during a run is what the next stage loads, and what its passport names."""
    site = folder / "site"
    site.mkdir()
    (site / "yaml").mkdir()
    (site / "yaml/__init__.py").write_text("")
    with_site = {"PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}
    assert ended_with(warm.start, options(folder, **with_site)) == 0
    first = parent_of(warm)
    (site / "another").mkdir()
    assert ended_with(warm.start, options(folder, **with_site)) == 0
    assert parent_of(warm) != first


def test_the_parent_holds_libraries_alone(shared_folder, shared):
    """No module of the project, no connection by a path, one file more than the standard streams."""
    assert ended(shared.start, shared_folder) == 0
    parent = parent_of(shared)
    assert not parent.net_connections("inet")
    sockets = [c for c in parent.net_connections("unix") if c.raddr or c.laddr]
    assert not sockets


def test_the_parent_refuses_code_of_the_project(monkeypatch):
    """A library that loaded it would hide later changes of it."""
    with pytest.raises(RuntimeError, match="labelfactory"):
        warm_parent.load(["json"])


def test_the_parent_ends_with_the_run(folder, warm):
    assert ended(warm.start, folder) == 0
    parent = parent_of(warm)
    warm.close()
    assert not parent.is_running()


@pytest.mark.parametrize("loading", [False, True])
def test_the_parent_ends_with_a_killed_owner(folder, loading):
    """SIGKILL, also while it loads."""
    program = f"""
import json, os, sys, time
sys.path[:0] = [{str(ROOT)!r}]
from flows.line.warm_start import Starts
options = json.loads({json.dumps(options(folder))!r})
Starts().start([*{BASH!r}, "python -m stages.probe"], **options).communicate()
"""
    (folder / "said.json").write_text('{"sleep": 1}')
    owner = subprocess.Popen([sys.executable, "-c", program])
    stage: list[psutil.Process] = []
    try:
        _wait_until(lambda: _below(owner.pid) if loading else (folder / "begun").exists())
        family = _below(owner.pid)
        owner.kill()
        owner.wait()
        stage = [] if loading else [psutil.Process(int((folder / "begun").read_text()))]
        _wait_until(lambda: not any(is_alive(one) for one in family if one not in stage))
    finally:
        owner.kill()
        for one in stage:
            one.kill()


def _below(pid: int) -> list[psutil.Process]:
    """Parents of stages below a process, once their shells have made way for Python."""
    found = []
    for one in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):  # it has ended
            if "warm_parent" in " ".join(one.cmdline()):
                found.append(one)
    return found


def _wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("seen", [True, False])
def test_a_dead_parent_is_replaced(folder, warm, monkeypatch, seen):
    """As when memory ran out: the next stage starts all the same. While its threads end, the system still calls it alive."""
    assert ended(warm.start, folder) == 0
    first = parent_of(warm)
    first.kill()
    _wait_until(lambda: not is_alive(first))
    if not seen:
        monkeypatch.setattr(warm_start.Parent, "serves", lambda *words: True)
    assert ended(warm.start, folder) == 0
    assert parent_of(warm) != first


def test_without_a_parent_stages_start_plainly(folder, warm, monkeypatch, caplog, tmp_path):
    """And the debug log says why; one attempt is enough."""
    script = tmp_path / "broken.py"
    text = Path(warm_parent.__file__).read_text()
    assert "LIBRARIES = (\n" in text
    script.write_text(text.replace("LIBRARIES = (\n", 'LIBRARIES = (\n    "no_such_library",\n'))
    monkeypatch.setattr(warm_start, "PARENT", script)
    with caplog.at_level(logging.DEBUG, warm_start.__name__):
        assert ended(warm.start, folder, exit=3) == 3
        assert ended(warm.start, folder) == 0
    (message,) = [record.message for record in caplog.records if record.name == warm_start.__name__]
    assert "ModuleNotFoundError: No module named 'no_such_library'" in message


def test_a_stage_that_is_not_confirmed_does_not_run(folder, warm, monkeypatch):
    """So it never runs twice: here as a child of another process, then plainly."""
    monkeypatch.setattr(warm_start, "_is_child", lambda pid: False)
    assert ended(warm.start, folder) == 0
    assert len((folder / "random").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [
        ["/bin/sh", "-c", "python -m stages.probe"],
        [*BASH, "python -m stages.probe --more"],
        [*BASH, "nice python -m stages.probe"],
    ],
)
def test_other_commands_are_left_to_dvc(folder, words):
    """Only what is known to be the same starts warm."""
    assert warm_start.stage_in(words, options(folder)) is None
    assert warm_start.stage_in([*BASH, "python -m stages.probe"], options(folder)) == "stages.probe"
    assert warm_start.stage_in([*BASH, "python -m stages.probe"], {**options(folder), "close_fds": False}) is None


@pytest.mark.parametrize("stream", ["stdin", "stdout", "stderr"])
def test_a_stage_starts_plainly_where_a_stream_was_closed(folder, monkeypatch, stream):
    """Played: `>&-`. What is open under its number is another file, and the warm parent has no such stream to set up."""
    monkeypatch.setattr(sys, stream, None)
    assert warm_start.stage_in([*BASH, "python -m stages.probe"], options(folder)) is None


def test_an_interruption_while_it_loads_starts_no_stage(folder, warm, monkeypatch):
    """The interruption has ended the parent; a stage would only have to be ended too."""
    monkeypatch.setattr(warm_start, "interrupted", lambda: True)
    monkeypatch.setattr(warm_start.Parent, "_receive", lambda *words: (_ for _ in ()).throw(warm_start.CannotError()))
    assert ended(warm.start, folder) == -signal.SIGTERM
    assert not (folder / "told.json").exists()
