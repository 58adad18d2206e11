"""One process of a pool: how it starts, what it does, how it ends.

Processes are forked from a server process that has loaded the libraries and nothing else (multiprocessing's fork server):
loading takes seconds and some 300 MB once instead of once per process, and no thread or lock of the parent is copied. A stage
forks the server from itself before its work begins (`fork_from_here`); otherwise the first pool starts one.
"""

import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from labelfactory.devices import FabricPrecision, one_thread_each
from labelfactory.interrupt import SIGNALS
from labelfactory.measured_precision import computed_in

LIBRARIES = ["torch", "cv2", "pandas", "pyarrow.parquet", "pydantic", "yaml", "safetensors.torch"]
"""Loaded by the fork server: slow to load, and needed by most work."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Libraries read these when they are loaded."""
LONGEST_SOCKET = 103
"""Bytes of a socket's path that every system allows (Linux 107, macOS 103)."""
PAUSES = (0.1, 1.0, 5.0)
"""Seconds before each new try of a start: a dying fork server refuses before its process is gone."""
FORKS_SAFELY = sys.platform == "linux"
"""On macOS, system libraries break in a fork of a process that loaded them."""


class Usage(NamedTuple):
    """What a process has used so far."""

    memory: int
    """Largest resident memory, in the units of `ru_maxrss`."""
    precisions: frozenset[FabricPrecision]


def fork_from_here() -> None:
    """Make the fork server a fork of this process as it is now, with the modules that it has loaded.

    Call it after loading modules and before any work. It does nothing if the process has threads, lacks a standard stream, or
    the system does not fork safely; then the first pool starts a fork server, which loads the libraries itself.
    """
    if not FORKS_SAFELY or threading.active_count() > 1 or _context().get_start_method() != "forkserver":
        return
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:  # another file may have its descriptor
        return
    sys.stdout.flush()
    sys.stderr.flush()
    multiprocessing.resource_tracker.ensure_running()
    spawn = multiprocessing.util.spawnv_passfds  # the function by which multiprocessing starts the server
    multiprocessing.util.spawnv_passfds = _fork_server
    try:
        multiprocessing.forkserver.ensure_running()
    except (OSError, ValueError):  # no room for another process, or a Python that passes other files
        return  # left to the first pool
    finally:
        multiprocessing.util.spawnv_passfds = spawn


def _fork_server(path: object, args: object, passfds: Sequence[int]) -> int:
    """In the place of `multiprocessing.util.spawnv_passfds`, which has no public substitute: fork, return the pid.

    Raises:
        ValueError: the files are not the two that `_serve_forks` takes.
    """
    listener, alive = passfds
    return os.fork() or _serve_forks(listener, alive)


def _serve_forks(listener: int, alive: int) -> NoReturn:
    """Fork on each request at the listener, until all other ends of `alive` are closed, its copies here included."""
    code = 1
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor not in (0, 1, 2, listener, alive):
                with suppress(OSError):  # that of the listing itself
                    os.close(descriptor)
        multiprocessing.forkserver.main(listener, alive, [])
    except SystemExit:  # no client is left
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def start_process(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> tuple[Any, Connection]:
    """Start a process that sends (kind, value, usage): `ready` once initialised, then a result or error per task.

    Args:
        initializer, initargs: as for `process_pool`.

    Returns:
        The process, and the pipe that takes (function, arguments) and returns what it sends.
    """
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, {**os.environ, **ONE_THREAD}, initializer, initargs), daemon=True
    )
    with _environment(**ONE_THREAD):
        _begin(process)
    theirs.close()  # so that the pipe ends with the process
    return process, ours


def _begin(process: Any) -> None:
    """Start it; after a kill of the fork server, once that process is gone and another can start."""
    for pause in PAUSES:
        try:
            process.start()
            return
        except (EOFError, ConnectionError):
            time.sleep(pause)
    process.start()


def _context() -> Any:
    """The start method: the fork server, or spawn where the path of its socket would be too long."""
    longest = len(os.fsencode(tempfile.gettempdir())) + len("/pymp-xxxxxxxx/listener-xxxxxxxx")
    if longest > LONGEST_SOCKET:
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def _serve(
    pipe: Connection, environment: dict[str, str], initializer: Callable[..., None], initargs: tuple[Any, ...]
) -> None:
    os.environ.clear()  # the fork server may have started with others
    os.environ.update(environment)
    for number in SIGNALS:  # the parent gets them too, and ends this process
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread_each()
    try:
        initializer(*initargs)
        _send(pipe, "ready", None)
        while True:
            function, task = pipe.recv()
            _send(pipe, "result", function(*task))
    except (EOFError, BrokenPipeError):  # the parent is gone
        return
    except Exception as error:
        _send_error(pipe, error)


def _send(pipe: Connection, kind: str, value: Any) -> None:
    pipe.send((kind, value, Usage(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, frozenset(computed_in))))


def _send_error(pipe: Connection, error: Exception) -> None:
    try:
        _send(pipe, "error", error)
    except Exception:  # an exception that cannot be pickled
        _send(pipe, "error", RuntimeError(f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """End this process when its parent was killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables for child processes, and restore the old ones."""
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
