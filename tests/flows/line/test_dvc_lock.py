"""DVC's lock: a run waits for whoever holds it, a push does not hold it while it sends, and messages say who works."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.exceptions import ReproductionError
from dvc.lock import LockError
from dvc.repo import Repo
from made_line import MadeLine
from test_flows import LEARNING, line

from flows.line.dvc_line import held_line, reproduce
from flows.line.dvc_lock import DvcLock, busy
from flows.line.dvc_repo import failures_named, open_repo
from flows.line.stage_states import line_status
from flows.line.storage import pull, push
from labelfactory.lock import BusyError, stage_lock

__all__ = ["line"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DVC's own, about libraries that it uses


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What those who wait have said."""
    texts: list[str] = []
    monkeypatch.setattr("flows.line.dvc_lock.say", texts.append)
    return texts


def while_held(work: Callable[[], Any], said: list[str], *, after: Path | None = None) -> Any:
    """Start work, hold DVC's lock (once that file is there) until the work says that it waits; gives what the work gives."""
    said.clear()
    with Repo(".") as other, ThreadPoolExecutor(1) as thread:
        if after is None:
            other.lock.lock()
        done = thread.submit(work)
        while after is not None and not after.exists():
            assert not done.done(), done.exception()
            time.sleep(0.05)
        if after is not None:
            other.lock.lock()
            after.unlink()
        while not said:
            assert not done.done(), done.exception()
            time.sleep(0.05)
        assert not done.done(), done.exception()
        other.lock.unlock()
        assert said == [f"waiting for the process {os.getpid()}, which holds DVC's lock of this folder"]
        return done.result()


@pytest.fixture
def project(tmp_path, monkeypatch) -> MadeLine:
    """A line that ran, whose remote is a folder."""
    (tmp_path / "project/.dvc").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    made = MadeLine()
    made.run(commit=False)
    made.complete()
    core = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n    remote = store\n"
    Path(".dvc/config").write_text(f'{core}[remote "store"]\n    url = {tmp_path / "remote"}\n')
    return made


@pytest.mark.slow
@pytest.mark.parametrize("begins", [True, False])
def test_a_run_waits_for_who_holds_dvcs_lock(line, said, begins):
    """When it begins, and when its stage has ended, whose work would be lost otherwise."""
    work = Path("at work")
    wired = yaml.safe_load(Path("dvc.yaml").read_text())
    wait = f"touch '{work}'; while test -e '{work}'; do sleep 0.1; done; "
    if not begins:
        wired["stages"][LEARNING[0]]["cmd"] = wait + wired["stages"][LEARNING[0]]["cmd"]
        Path("dvc.yaml").write_text(yaml.safe_dump(wired, sort_keys=False))
    ran = while_held(lambda: reproduce([LEARNING[0]]), said, after=None if begins else work)
    assert ran == [LEARNING[0]]
    assert reproduce([LEARNING[0]]) == []


@pytest.mark.slow
def test_a_push_sends_without_the_lock_what_was_there_when_it_began(project, tmp_path, monkeypatch, said):
    """A run may end stages meanwhile; the lock file that is sent names the outputs that were sent."""
    import dvc_data.index.push as dvc_push

    before, send = Path("dvc.lock").read_bytes(), dvc_push.push

    def slowly(*given: Any, **options: Any) -> Any:
        with Repo(".") as other, other.lock:
            project.run(refine_crf="changed")
        return send(*given, **options)

    monkeypatch.setattr(dvc_push, "push", slowly)
    assert push().outputs > 10
    assert Path("dvc.lock").read_bytes() != before
    assert (tmp_path / "remote/labelfactory/dvc.lock").read_bytes() == before
    sent = {f"{path.parent.name}{path.name}" for path in (tmp_path / "remote/files/md5").rglob("*") if path.is_file()}
    outs = [out for stage in yaml.safe_load(before)["stages"].values() for out in stage["outs"]]
    assert {out["md5"] for out in outs} <= sent
    monkeypatch.setattr(dvc_push, "push", send)
    project.complete()
    while_held(push, said)
    while_held(pull, said)


@pytest.mark.slow
def test_who_does_not_wait_is_told_who_works(line):
    """The look at the line, and a withdrawal, which changes what others read."""
    with Repo(".") as other, other.lock:
        for ask in (line_status, held_line().__enter__):
            with pytest.raises(BusyError, match=f"the process {os.getpid()} holds DVC's lock") as caught:
                ask()
            assert "type the same command again" in caught.value.remedy
    with held_line():
        for name in ("sweep", "tournament"):  # they would begin with the import of before
            with pytest.raises(BusyError, match=f"{name}: the process {os.getpid()}"), stage_lock(name):
                pass
    with open_repo(waits=True) as repo, repo.lock:
        assert repo.lock.is_locked
    assert not repo.lock.is_locked


class Taken:
    """A lock of DVC's that another process holds."""

    _lockfile = "lock"
    is_locked = False

    def lock(self) -> None:
        raise LockError("Unable to acquire lock. <\x1b[36mhttps://dvc.org/…\x1b[39m>")

    def unlock(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("text", [" 1\n", "own", "4194999", "", "no number", None])
def test_the_message_says_who_whatever_the_lock_holds(tmp_path, monkeypatch, text):
    """Without DVC's page and colours; an interrupted program waits no longer."""
    monkeypatch.chdir(tmp_path)
    text = f"{os.getpid()}\n" if text == "own" else text
    if text is not None:
        Path("lock").write_text(text)
    monkeypatch.setattr("flows.line.dvc_lock.interrupted", lambda: True)
    who = f"the process {text.strip()}" if text and text.strip().isdigit() else "another process"
    for waits in (False, True):
        with pytest.raises(BusyError, match=f"^{who} holds DVC's lock of this folder") as caught:
            DvcLock(Taken(), waits=waits).lock()
        assert "\x1b" not in str(caught.value)
        assert "remote" not in str(caught.value)


def test_waiting_ends_with_an_interruption(tmp_path, monkeypatch):
    """As of Ctrl-C, while the other process goes on."""
    monkeypatch.chdir(tmp_path)
    told = threading.Event()
    monkeypatch.setattr("flows.line.dvc_lock.interrupted", told.is_set)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(DvcLock(Taken(), waits=True).lock)
        time.sleep(0.2)
        assert not waiting.done()
        told.set()
        with pytest.raises(BusyError):
            waiting.result(5)


@pytest.mark.parametrize("cause", ["lock", "files"])
def test_a_lock_inside_of_a_run_is_no_failure_of_its_stage(cause):
    """DVC wraps what it raises; the message names the stage's files or the lock, and no remedy that cannot help."""
    causes = {
        "lock": BusyError("the process 7 holds DVC's lock of this folder", "Wait."),
        "files": LockError("'data/masks' is busy, it is being blocked by:\n  (PID 4194999): dvc repro\n"),
    }
    expected = {"lock": "the process 7 holds", "files": "refine_crf: the process 4194999 works on the same files"}
    with pytest.raises(BusyError, match=expected[cause]), failures_named():
        raise ReproductionError("failed to reproduce 'refine_crf'") from causes[cause]
    with pytest.raises(BusyError, match="DVC: another process works"), failures_named():
        raise LockError("no number")
    assert "process 4194999" in str(busy(LockError("(PID 4194999): x")))
