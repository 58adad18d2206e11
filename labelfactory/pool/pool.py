"""A pool of processes with one thread each, so that results do not depend on their number.

A process that dies or hangs on a task is replaced and the task retried once; then it is lost, and the caller decides
(labelfactory/stage/per_image.py: quarantine). The processes end with their parent, however that ends.

How a process starts and what it does: process.py.
"""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, TypeVar

from labelfactory.console import say
from labelfactory.devices import one_thread_each, pick_device, workers
from labelfactory.environment import positive
from labelfactory.errors import LabelfactoryError
from labelfactory.measured_precision import computed_in
from labelfactory.pool.process import Usage, start_process

R = TypeVar("R")
Lost = Callable[[tuple[Any, ...], str], R]
TRIES = 2
"""A task is tried twice: again where the first process died or hung."""
SECONDS_VARIABLE = "LABELFACTORY_TASK_SECONDS"
TASK_SECONDS = 900.0
START_SECONDS = 900.0
"""Limit for a process to load its networks."""


class Submit(Protocol):
    """Maps a function over tasks; results come in any order. `lost` makes the result of a lost task."""

    def __call__(
        self, function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], lost: Lost[R] | None = None
    ) -> Iterator[R]:
        """Raises what the function raises, and WorkerLostError for a lost task without `lost`."""


class WorkerLostError(LabelfactoryError):
    """Processes died or hung on one task, or while they started."""


@dataclass
class _Job:
    task: tuple[Any, ...]
    tries: int = 0


@dataclass
class _Worker:
    """One process and its current task."""

    process: Any
    pipe: Connection
    ready: bool = False
    job: _Job | None = None
    deadline: float = field(default_factory=lambda: time.monotonic() + START_SECONDS)

    def give(self, function: Callable[..., Any], job: _Job) -> None:
        self.job, self.deadline = job, time.monotonic() + task_seconds()
        try:
            self.pipe.send((function, job.task))
        except OSError:  # it has died: `receive` finds out
            return

    def receive(self) -> tuple[str, Any]:
        """Its next message. Raises EOFError when it is dead or overdue."""
        if not self.pipe.poll():
            raise EOFError
        kind, value, usage = self.pipe.recv()
        _note(usage)
        return kind, value

    def end(self) -> str:
        """Kill it and return how it ended."""
        overdue = self.deadline < time.monotonic()
        self.process.join(0 if overdue else 1)  # a dying one sets its own exit code
        alive = self.process.is_alive()
        self.kill()
        code = self.process.exitcode
        if alive and overdue:
            return f"hung for {task_seconds():g} s" if self.ready else f"did not start in {START_SECONDS:g} s"
        return f"died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def task_seconds() -> float:
    """Seconds that a process may spend on one task: $LABELFACTORY_TASK_SECONDS, else 900.

    Raises:
        UserError: the variable is not a positive number.
    """
    return positive(SECONDS_VARIABLE, TASK_SECONDS)


@contextmanager
def process_pool(count: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> Iterator[Submit]:
    """Start `count` processes; yield a function that maps over tasks and yields results in any order.

    Args:
        count: processes.
        initializer: called once in each process; a function at the top of a module. Its exception is raised by `submit`.
        initargs: its arguments.
    """
    pool = _Pool(count, initializer, initargs)
    try:
        yield pool.submit
    finally:
        pool.close()


@contextmanager
def spread(tasks: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> Iterator[Submit]:
    """A pool of processes for a number of tasks; this process alone where one is enough, or where a GPU does the work.

    Args:
        tasks: their number, at least one.
        initializer, initargs: as for `process_pool`.
    """
    on_cpu = pick_device().type == "cpu"
    count = min(workers(), tasks) if on_cpu else 1
    if count > 1:
        with process_pool(count, initializer, initargs) as submit:
            yield submit
        return
    if on_cpu:
        one_thread_each()
    initializer(*initargs)
    yield lambda function, tasks, lost=None: (function(*task) for task in tasks)


class _Pool:
    def __init__(self, count: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
        self._setup = (initializer, initargs)
        self._failed_starts = 0
        self._workers = [self._start() for _ in range(count)]

    def submit(
        self, function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], lost: Lost[R] | None = None
    ) -> Iterator[R]:
        """See Submit."""
        waiting = deque(_Job(task) for task in tasks)
        while waiting or any(worker.job for worker in self._workers):
            for worker in self._workers:
                if worker.ready and not worker.job and waiting:
                    worker.give(function, waiting.popleft())
            for worker in self._ready_to_read():
                try:
                    kind, value = worker.receive()
                except (EOFError, OSError):
                    job, how = self._replace(worker)
                    if job is None:
                        continue
                    if job.tries < TRIES:
                        say(f"a worker process {how}; its task is tried again")
                        waiting.appendleft(job)
                        continue
                    reason = f"the worker process {how}, {job.tries} times"
                    if lost is None:
                        raise WorkerLostError(reason) from None
                    yield lost(job.task, reason)
                    continue
                if kind == "error":
                    raise value
                if worker.ready:
                    worker.job = None
                    if waiting:  # before the result is used, so that the process does not wait
                        worker.give(function, waiting.popleft())
                    yield value
                worker.ready = True

    def _ready_to_read(self) -> list[_Worker]:
        """Workers that have sent something, are dead, or are overdue."""
        busy = [worker for worker in self._workers if worker.job or not worker.ready]
        left = min(worker.deadline for worker in busy) - time.monotonic()
        readable = set(wait([worker.pipe for worker in busy], timeout=max(0.0, left)))
        now = time.monotonic()
        return [worker for worker in busy if worker.pipe in readable or worker.deadline < now]

    def _replace(self, worker: _Worker) -> tuple[_Job | None, str]:
        """Replace a process that died or hung. Returns its task, and how it ended."""
        how, job = worker.end(), worker.job
        if job is not None:
            job.tries += 1
        else:
            self._failed_starts += 1
            if self._failed_starts > TRIES:
                raise WorkerLostError(f"worker processes {how} while they started")
        self._workers[self._workers.index(worker)] = self._start()
        return job, how

    def _start(self) -> _Worker:
        return _Worker(*start_process(*self._setup))

    def close(self) -> None:
        """End all processes at once, whatever their tasks."""
        for worker in self._workers:
            worker.kill()


_largest = 0


def _note(usage: Usage) -> None:
    global _largest
    _largest = max(_largest, usage.memory)
    computed_in.update(usage.precisions)


def largest_memory() -> int:
    """Largest resident memory of any process of this process's pools, in the units of `ru_maxrss`."""
    return _largest
