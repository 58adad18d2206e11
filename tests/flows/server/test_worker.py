"""A worker that ends of itself is started anew; one that is told to end stays ended."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from uuid import uuid4

import anyio
import psutil
import pytest
from loopback import Loopback, QuietHandler
from prefect.workers.process import ProcessWorker

from flows.server import worker
from flows.server.started import Service, write_services


def run(ends: list[Exception | None], monkeypatch: pytest.MonkeyPatch, lasts: float = 60.0) -> list[float]:
    """Work with workers that end so, each after some seconds; returns the pauses between them."""
    pauses: list[float] = []
    clock = 0.0

    async def start() -> None:
        nonlocal clock
        clock += lasts
        end = ends.pop(0)
        if end:
            raise end

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(worker.time, "monotonic", lambda: clock)
    monkeypatch.setattr(worker.asyncio, "sleep", sleep)
    asyncio.run(worker.work(start, "vm-gpu"))
    assert ends == []
    return pauses


def test_it_starts_anew_after_any_error(monkeypatch, capsys):
    """Errors alone and in groups; each cause is said, in a line."""
    group = ExceptionGroup("unhandled", [RuntimeError("server\nanswered 500"), ExceptionGroup("", [OSError("gone")])])
    assert run([ValueError("first"), group, None], monkeypatch) == [5.0, 10.0]
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == "vm-gpu ended unexpectedly, and restarts in 5 s: ValueError: first"
    assert second.endswith("in 10 s: RuntimeError: server answered 500; OSError: gone")


@pytest.mark.parametrize(("lasts", "last"), [(60.0, 60.0), (601.0, 5.0)], ids=["soon", "after a steady time"])
def test_pauses_grow_unless_it_lived_long(lasts, last, monkeypatch):
    """Nobody is asked more often than once a minute, and one error a night costs five seconds."""
    pauses = run([*[RuntimeError("again")] * 6, None], monkeypatch, lasts)
    assert (pauses[0], pauses[-1]) == (5.0, last)


def test_who_never_worked_ends(monkeypatch):
    """An error at the very first start is for who typed `up`; the same error later is not."""
    with pytest.raises(ValueError, match="no such pool"):
        run([ValueError("no such pool"), None], monkeypatch, lasts=1.0)


@pytest.mark.parametrize("kind", [worker.Worker, ProcessWorker])
def test_a_run_whose_process_is_here_is_left_alone(kind):
    """Planned anew while its older process lives: Prefect's own worker ends with an error, ours starts nothing."""
    run = SimpleNamespace(flow_run=SimpleNamespace(id=uuid4()))

    async def ask() -> list[object]:
        one = kind(work_pool_name="gpu", limit=1)
        one._limiter = anyio.CapacityLimiter(1)
        one._limiter.acquire_on_behalf_of_nowait(run.flow_run.id)
        return await one._submit_scheduled_flow_runs([run])

    if kind is worker.Worker:
        assert asyncio.run(ask()) == []
    else:
        with pytest.raises(RuntimeError, match="already holding"):
            asyncio.run(ask())


def test_runs_of_who_took_the_place_of_the_server_are_left(tmp_path, monkeypatch, capsys):
    """Another user's program may listen there once the server has ended; with the server, they are taken."""
    monkeypatch.chdir(tmp_path)
    planned = SimpleNamespace(flow_run=SimpleNamespace(id=uuid4()))
    taken: list[object] = []

    async def take(self, runs):
        taken.extend(runs)

    monkeypatch.setattr(ProcessWorker, "_submit_scheduled_flow_runs", take)

    async def offer() -> None:
        one = worker.Worker(work_pool_name="gpu", limit=1)
        one._limiter = anyio.CapacityLimiter(1)
        await one._submit_scheduled_flow_runs([planned])

    started = psutil.Process().create_time()
    write_services("http://127.0.0.1:4200/api", [Service("server", os.getpid(), started - 60, "log")])
    asyncio.run(offer())
    assert taken == []
    assert "none is taken" in capsys.readouterr().err
    write_services("http://127.0.0.1:4200/api", [Service("server", os.getpid(), started, "log")])
    asyncio.run(offer())
    assert taken == [planned]


@pytest.fixture
def server() -> Iterator[Loopback]:
    """Something that answers, but is no Prefect: each worker ends of itself."""

    class NoPrefect(QuietHandler):
        def answer(self) -> None:
            self.send_error(404)

    server = Loopback(NoPrefect)
    yield server
    server.close()


@pytest.fixture
def settings(server, tmp_path) -> dict[str, str]:
    """The environment of a worker of that server."""
    own = {"PREFECT_API_URL": f"{server.root}/api", "PREFECT_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    return os.environ | own


@pytest.mark.slow
def test_it_ends_where_there_is_no_prefect(settings):
    """At once, with the reason."""
    words = [sys.executable, "-m", "flows.server.worker", "gpu", "vm-gpu"]
    done = subprocess.run(words, env=settings, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "vm-gpu cannot work: RuntimeError: Runner failed to start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [signal.SIG_DFL, signal.SIG_IGN], ids=["terminal", "background"])
def test_told_to_end_it_ends(settings, interrupts):
    """SIGTERM while it waits to start Prefect's worker anew: exit 0, no traceback; also where a shell, which then ignores
    SIGINT for it, has started it in the background.
    """
    before = signal.signal(signal.SIGINT, interrupts)  # an ignored signal is inherited
    try:
        code, said = end_a_waiting_worker(settings)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, said.splitlines()[-1]) == (0, "vm-gpu was told to end"), said
    assert "Traceback" not in said


def end_a_waiting_worker(settings: dict[str, str]) -> tuple[int, str]:
    """Send SIGTERM to one that has failed twice. Returns its exit code and all that it said."""
    later = "from flows.server import worker; worker.EARLY_SECONDS = 0; worker.main('gpu', 'vm-gpu')"
    with subprocess.Popen(
        [sys.executable, "-c", later], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, env=settings
    ) as process:
        assert process.stdout is not None
        said = ""
        try:
            while said.count("restarts in") < 2:
                line = process.stdout.readline()
                assert line, said
                said += line
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, said + rest
