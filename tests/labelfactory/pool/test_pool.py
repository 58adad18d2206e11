"""Processes that die, hang or fail: noticed, replaced, tried again, then said."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from labelfactory.errors import UserError
from labelfactory.pool import pool
from labelfactory.pool.pool import WorkerLostError, largest_memory, process_pool, spread, task_seconds
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.runner import stage_class

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.timeout(900)]


def nothing() -> None:
    """A process that needs no setup."""


def die_at_start() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def square(k: int) -> int:
    return k * k


def die_once(k: int, mark: str) -> int:
    """Die over 3, but only the first time."""
    if k == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return k


def die_over_three(k: int) -> int:
    if k == 3:
        os._exit(7)
    return k


def hang_over_three(k: int) -> int:
    if k == 3:
        time.sleep(600)
    return k


def fail_over_three(k: int) -> int:
    if k == 3:
        raise UserError("three", "take four")
    return k


def where(k: int) -> tuple[int, int]:
    """The process and the threads that torch computes on."""
    import torch

    return os.getpid(), torch.get_num_threads()


def variable(name: str) -> str | None:
    return os.environ.get(name)


def command_line(k: int) -> str:
    return " ".join(psutil.Process().cmdline())


def fill(megabytes: int) -> int:
    return len(bytearray(megabytes * 2**20))


MARK = "as loaded"


def mark(k: int) -> tuple[str, int]:
    """What this process holds in memory, and what it is a fork of."""
    return MARK, os.getppid()


TASKS = [(k,) for k in range(6)]


def test_every_task_is_done_once():
    """Results come in any order; the pool takes one load of work after the other."""
    with process_pool(2, nothing, ()) as submit:
        assert sorted(submit(square, TASKS)) == [0, 1, 4, 9, 16, 25]
        assert sorted(submit(square, [(7,)])) == [49]
        assert list(submit(square, [])) == []


@pytest.mark.parametrize(("workers", "tasks", "here"), [("1", 6, True), ("2", 1, True), ("2", 6, False)])
def test_work_is_spread_where_there_is_more_than_one_to_do_it(monkeypatch, workers, tasks, here):
    """One worker, or one task: this process does it, on one thread, as each of several would."""
    monkeypatch.setenv("LABELFACTORY_WORKERS", workers)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    with spread(tasks, nothing, ()) as submit:
        found = set(submit(where, TASKS[:tasks]))
    assert {threads for _, threads in found} == {1}
    assert ({pid for pid, _ in found} == {os.getpid()}) == here


def test_a_process_has_the_environment_and_one_thread_for_each_library(monkeypatch):
    """As it is now, not as it was when the first pool of this process started."""
    with process_pool(1, nothing, ()) as submit:
        list(submit(square, [(1,)]))
    monkeypatch.setenv("LABELFACTORY_PROBE", "later")
    with process_pool(1, nothing, ()) as submit:
        assert list(submit(variable, [("LABELFACTORY_PROBE",)])) == ["later"]
        assert list(submit(variable, [("OMP_NUM_THREADS",)])) == ["1"]


@pytest.mark.parametrize(("name", "how"), [("", "forkserver"), ("x" * 90, "spawn_main")])
def test_processes_start_wherever_temporary_files_are(tmp_path, monkeypatch, name, how):
    """Forks of one that has the libraries; where its socket's path would be too long, anew."""
    if name:
        (tmp_path / name).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    with process_pool(1, nothing, ()) as submit:
        (said,) = submit(command_line, [(0,)])
    assert how in said


def test_the_largest_process_is_known(monkeypatch):
    """For the report of a stage: the children of this process are not all that worked for it."""
    monkeypatch.setattr(pool, "_largest", 0)
    with process_pool(1, nothing, ()) as submit:
        list(submit(square, [(1,)]))
        before = largest_memory()
        list(submit(fill, [(700,)]))
    assert before > 0
    assert largest_memory() > before, before


def test_a_process_that_died_is_replaced_and_its_task_tried_again(tmp_path, capsys):
    """As where memory ran out once: nothing is lost, and it is said."""
    with process_pool(1, nothing, ()) as submit:
        assert sorted(submit(die_once, [(k, str(tmp_path / "mark")) for k in range(6)])) == list(range(6))
    assert "a worker process died (SIGKILL); its task is tried again" in capsys.readouterr().err


def test_what_processes_are_forks_of_may_die_too(tmp_path):
    """Those that it started work on, and who has to be replaced afterwards is."""
    with process_pool(2, nothing, ()) as submit:
        assert sorted(submit(square, TASKS)) == [0, 1, 4, 9, 16, 25]
        (server,) = {psutil.Process(pid).ppid() for pid, _ in submit(where, TASKS)}
        os.kill(server, signal.SIGKILL)
        assert sorted(submit(die_once, [(k, str(tmp_path / "mark")) for k in range(6)])) == list(range(6))


FORKED = """
import os, signal
import test_pool
from labelfactory.pool.pool import process_pool
from labelfactory.pool.process import fork_from_here
from test_pool import mark, nothing, square
if __name__ == "__main__":
    ours, theirs = os.pipe()
    test_pool.MARK = "before"
    fork_from_here()
    test_pool.MARK = "after"
    os.close(theirs)
    print("held" if os.read(ours, 1) else "let go")
    with process_pool(1, nothing, ()) as submit:
        ((seen, server),) = submit(mark, [(0,)])
        print(seen, "of" if os.path.exists(f"/proc/{server}") else "without", "a server")
    os.kill(server, signal.SIGKILL)
    with process_pool(2, nothing, ()) as submit:
        print(sorted(submit(square, [(3,), (4,)])), {seen for seen, _ in submit(mark, [(0,)])})
"""


def test_processes_are_forks_of_a_program_as_it_was(tmp_path):
    """Of the moment it chose: with what it had loaded, without its open files. Where that fork is killed, as others start."""
    said = run_here(tmp_path, FORKED)
    assert said.splitlines() == ["let go", "before of a server", "[9, 16] {'as loaded'}"]


THREADED = """
import threading
from multiprocessing.forkserver import _forkserver
from labelfactory.pool.process import fork_from_here
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
fork_from_here()
print("forked" if _forkserver._forkserver_pid else "not forked")
stop.set()
thread.join()
fork_from_here()
print("forked" if _forkserver._forkserver_pid else "not forked")
"""


def test_a_program_with_threads_is_not_forked(tmp_path):
    """A fork would have its locks and not its threads; the first pool starts a server anew. Without them it is."""
    assert run_here(tmp_path, THREADED).splitlines() == ["not forked", "forked"]


STREAMLESS = """
from pathlib import Path
from labelfactory.pool.pool import process_pool
from labelfactory.pool.process import fork_from_here
from test_pool import nothing, square
if __name__ == "__main__":
    fork_from_here()
    with process_pool(2, nothing, ()) as submit:
        Path("found").write_text(str(sorted(submit(square, [(3,), (4,)]))))
"""


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_program_without_standard_streams_has_pools(tmp_path, closed):
    """A service manager may close them all."""
    (tmp_path / "program.py").write_text(STREAMLESS)
    command = f"exec {shlex.quote(sys.executable)} program.py {closed}"
    subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment(), timeout=120, check=True)
    assert (tmp_path / "found").read_text() == "[9, 16]"


def test_stages_whose_work_is_spread_are_forked():
    """And no other: a training has one process, or starts its own."""
    stages = {name for name in read_wiring() if stage_class(name).spreads}
    per_image = {"make_priors", "extract_cams", "label_affinity", "random_walk", "refine_crf", "segment_images"}
    per_image |= {"rate_masks"}
    assert stages == per_image | {"calibrate_seeds", "evaluate"}


def run_here(folder: Path, program: str) -> str:
    """What a program prints that may load the project and these tests."""
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, folder / "program.py"], stdout=subprocess.PIPE, text=True, env=environment(), timeout=300
    )
    assert done.returncode == 0
    return done.stdout


def environment() -> dict[str, str]:
    """For a program elsewhere that loads the project and these tests."""
    here = Path(__file__).resolve().parent
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder) for folder in (here.parents[2], here))}


def test_a_task_that_nobody_survives_is_lost_and_the_others_are_not():
    """It is given to two processes, then the caller says what it means."""
    with process_pool(2, nothing, ()) as submit:
        found = set(submit(die_over_three, TASKS, lambda task, reason: (*task, reason)))
    assert found == {0, 1, 2, 4, 5, (3, "the worker process died (exit code 7), 2 times")}


def test_a_task_over_which_processes_hang_is_lost(monkeypatch):
    """$LABELFACTORY_TASK_SECONDS says when."""
    monkeypatch.setenv("LABELFACTORY_TASK_SECONDS", "1.5")
    with process_pool(2, nothing, ()) as submit:
        found = set(submit(hang_over_three, TASKS, lambda task, reason: (*task, reason)))
    assert found == {0, 1, 2, 4, 5, (3, "the worker process hung for 1.5 s, 2 times")}


def test_a_lost_task_without_a_say_is_an_error():
    """Nothing is left out in silence."""
    with process_pool(1, nothing, ()) as submit, pytest.raises(WorkerLostError, match="exit code 7"):
        list(submit(die_over_three, TASKS))


def test_what_a_task_raises_is_raised():
    """With its remedy."""
    with process_pool(1, nothing, ()) as submit, pytest.raises(UserError, match="three") as caught:
        list(submit(fail_over_three, TASKS))
    assert caught.value.remedy == "take four"


def test_processes_that_die_while_they_start_do_not_start_for_ever():
    """Three times, then it is an error."""
    with process_pool(1, die_at_start, ()) as submit, pytest.raises(WorkerLostError, match="while they started"):
        list(submit(square, TASKS))


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_limit_that_is_no_number_is_refused(monkeypatch, value):
    """Before anything hangs."""
    monkeypatch.setenv("LABELFACTORY_TASK_SECONDS", value)
    with pytest.raises(UserError, match="must be a positive number"):
        task_seconds()


PARENT = """
import sys
import time
from labelfactory.pool.pool import process_pool
from labelfactory.pool.process import fork_from_here
from test_pool import hang_over_three, nothing
if __name__ == "__main__":
    if sys.argv[1] == "forked":
        fork_from_here()
    with process_pool(1, nothing, ()) as submit:
        for result in submit(hang_over_three, [(1,), (3,)]):
            print(result, flush=True)
"""


@pytest.mark.parametrize("how", ["forked", "anew"])
def test_processes_end_with_a_parent_that_was_killed(tmp_path, how):
    """Also one that is busy: no orphan goes on computing, or waits for ever."""
    (tmp_path / "parent.py").write_text(PARENT)
    words = [sys.executable, tmp_path / "parent.py", how]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment())
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"1\n"
    below = psutil.Process(parent.pid).children(recursive=True)
    assert len(below) >= 2  # what they are forks of, and a worker
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert psutil.wait_procs(below, 60)[1] == []
