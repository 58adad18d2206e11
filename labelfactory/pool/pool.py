"""Work spread over processes of one thread each, so that a result does not depend on how many there are.

A process that dies or hangs over a task is noticed: it is replaced and the task is tried once more; then it is lost, and
whoever asked says what that means (per_image.py: quarantine). The processes end with their parent, however that ends.

How they start and what they do is in pool_process.py.
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
from labelfactory.pool.process import start_process

R = TypeVar("R")
Lost = Callable[[tuple[Any, ...], str], R]
TRIES = 2
"""A task is given to so many processes: once, and again where the first died or hung over it."""
SECONDS_VARIABLE = "LABELFACTORY_TASK_SECONDS"
TASK_SECONDS = 900.0
START_SECONDS = 900.0
"""How long a process may take to load its networks."""


class Submit(Protocol):
    """Maps a function over tasks; results come in any order. `lost` makes the result of a task that nobody survives."""

    def __call__(
        self, function: Callable[..., R], tasks: Iterable[tuple[Any, ...]], lost: Lost[R] | None = None
    ) -> Iterator[R]:
        """Raises what the function raises; WorkerLostError for a lost task if there is no `lost`."""


class WorkerLostError(LabelfactoryError):
    """Processes died or hung over one task, or while they started."""


@dataclass
class _Job:
    task: tuple[Any, ...]
    tries: int = 0


@dataclass
class _Worker:
    """One process, and what it has in hand."""

    process: Any
    pipe: Connection
    ready: bool = False
    job: _Job | None = None
    deadline: float = field(default_factory=lambda: time.monotonic() + START_SECONDS)

    def give(self, function: Callable[..., Any], job: _Job) -> None:
        self.job, self.deadline = job, time.monotonic() + task_seconds()
        try:
            self.pipe.send((function, job.task))
        except OSError:  # it has died: its pipe says so when it is read
            return

    def hear(self) -> tuple[str, Any]:
        """What it says. Raises EOFError when it is dead or overdue."""
        if not self.pipe.poll():
            raise EOFError
        kind, value, memory = self.pipe.recv()
        _note(memory)
        return kind, value

    def end(self) -> str:
        """Kill it and say how it went."""
        overdue = self.deadline < time.monotonic()
        self.process.join(0 if overdue else 1)  # one that is dying says itself of what
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
    """Start `count` processes; yield a function that maps over tasks and gives results as they come, in any order.

    Args:
        count: processes.
        initializer: called once in each process; a function at the top of a module. What it raises, the first task does.
        initargs: its arguments.
    """
    pool = _Pool(count, initializer, initargs)
    try:
        yield pool.submit
    finally:
        pool.close()


@contextmanager
def spread(tasks: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> Iterator[Submit]:
    """A pool of processes for so many tasks; this process alone where one is enough, or where a GPU does the work.

    Args:
        tasks: how many there will be, at least one.
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
            for worker in self._speaking():
                try:
                    kind, value = worker.hear()
                except (EOFError, OSError):
                    job, how = self._replace(worker)
                    if job is None:
                        continue
                    if job.tries < TRIES:
                        say(f"a worker process {how}; what it had in hand is tried again")
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
                    if waiting:  # before the result is looked at: nobody waits for us
                        worker.give(function, waiting.popleft())
                    yield value
                worker.ready = True

    def _speaking(self) -> list[_Worker]:
        """Workers that have said something, are dead, or are overdue."""
        busy = [worker for worker in self._workers if worker.job or not worker.ready]
        left = min(worker.deadline for worker in busy) - time.monotonic()
        heard = set(wait([worker.pipe for worker in busy], timeout=max(0.0, left)))
        now = time.monotonic()
        return [worker for worker in busy if worker.pipe in heard or worker.deadline < now]

    def _replace(self, worker: _Worker) -> tuple[_Job | None, str]:
        """Put a new process in the place of one that died or hung. Gives what it had in hand, and how it went."""
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
        """End all processes at once: whatever they have in hand, nobody waits for it."""
        for worker in self._workers:
            worker.kill()


_largest = 0


def _note(memory: int) -> None:
    global _largest
    _largest = max(_largest, memory)


def largest_memory() -> int:
    """The most resident memory of any process of any pool of this process, in the units of `ru_maxrss`."""
    return _largest
