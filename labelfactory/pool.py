"""Work spread over processes of one thread each, so that a result does not depend on how many there are."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

R = TypeVar("R")
Submit = Callable[[Callable[..., R], Iterable[tuple[Any, ...]]], Iterator[R]]


@contextmanager
def process_pool(count: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> Iterator[Submit[Any]]:
    """Start `count` processes; yield a function that maps over tasks and gives results as they come, in any order.

    Args:
        count: processes.
        initializer: called once in each process; a function at the top of a module. What it raises, the first task does.
        initargs: its arguments.
    """
    with _environment(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1"):
        pool = ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_start, initargs=(initializer, initargs)
        )

        def submit(function: Callable[..., R], tasks: Iterable[tuple[Any, ...]]) -> Iterator[R]:
            waiting: set[Future[R]] = {pool.submit(_call, function, *task) for task in tasks}
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()

        try:
            yield submit
        finally:
            pool.shutdown(cancel_futures=True)


def _start(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
    from labelfactory.devices import one_thread_each  # after OMP_NUM_THREADS is set: torch reads it at import

    global _failure
    one_thread_each()
    try:
        initializer(*initargs)
    except Exception as error:  # raised here it would only break the pool, and its message would be lost
        _failure = error


_failure: Exception | None = None


def _call(function: Callable[..., R], *task: Any) -> R:
    if _failure is not None:
        raise _failure
    return function(*task)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that child processes inherit, and put the old ones back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
