"""One process of a pool: how it starts, what it does, and how it ends.

Processes are forks of one that has loaded the libraries and done nothing else (multiprocessing's fork server): those take
seconds and some 300 MB once, not once for each, and no thread or lock of the parent is copied. A stage makes it of itself,
before it does anything (`fork_from_here`): then nothing is loaded twice. Others start it anew with their first pool.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from labelfactory.devices import one_thread_each

LIBRARIES = ["torch", "cv2", "pandas", "pyarrow.parquet", "pydantic", "yaml", "safetensors.torch", "scipy.sparse"]
"""What the fork server loads: what most work needs and takes long to load."""
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Read by the libraries when they are loaded."""
LONGEST_SOCKET = 103
"""Bytes that every system allows to the path of a socket (Linux 107, macOS 103)."""
PAUSES = (0.1, 1.0, 5.0)
"""Seconds before a start is tried again: a fork server that dies refuses, and is not dead at once."""
FORKS_SAFELY = sys.platform == "linux"
"""On macOS libraries of the system break in a process that was forked of one that loaded them."""


def fork_from_here() -> None:
    """Let all pools of this process start as forks of what it is now, with the modules that it has loaded.

    To be called by a program that has loaded its modules and done nothing yet. Where it has threads or was started without one
    of the three standard streams, or the system does not fork safely, nothing happens: the first pool starts a fork server
    then, which loads the libraries.
    """
    if not FORKS_SAFELY or threading.active_count() > 1 or _context().get_start_method() != "forkserver":
        return
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:  # its descriptor may be one of ours by now
        return
    sys.stdout.flush()
    sys.stderr.flush()
    multiprocessing.resource_tracker.ensure_running()
    start_anew = multiprocessing.util.spawnv_passfds  # with what multiprocessing would start the server
    multiprocessing.util.spawnv_passfds = lambda path, args, passfds: os.fork() or _serve_forks(*passfds)
    try:
        multiprocessing.forkserver.ensure_running()
    except OSError:  # no room for another process: the first pool says so, if it is still so
        return
    finally:
        multiprocessing.util.spawnv_passfds = start_anew


def _serve_forks(listener: int, alive: int) -> NoReturn:
    """Fork for whoever asks at the listener, until nobody holds the other end of `alive`: we must not, either."""
    code = 1
    try:
        for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
            if descriptor not in (0, 1, 2, listener, alive):
                with suppress(OSError):  # the folder's own
                    os.close(descriptor)
        multiprocessing.forkserver.main(listener, alive, [])
    except SystemExit:  # nobody is left
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def start_process(initializer: Callable[..., None], initargs: tuple[Any, ...]) -> tuple[Any, Connection]:
    """Start a process that says (kind, value, ru_maxrss): ready once initialised, then a result or error for each task.

    Args:
        initializer, initargs: as for `process_pool`.

    Returns:
        The process, and the pipe that takes (function, arguments) and gives what it says.
    """
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, {**os.environ, **ONE_THREAD}, initializer, initargs), daemon=True
    )
    with _environment(**ONE_THREAD):
        _begin(process)
    theirs.close()  # so that we read the end of the pipe when the process is gone
    return process, ours


def _begin(process: Any) -> None:
    """Start it; where the fork server was just killed, once that is gone and another can be."""
    for pause in PAUSES:
        try:
            process.start()
            return
        except (EOFError, ConnectionError):
            time.sleep(pause)
    process.start()


def _context() -> Any:
    """How processes start: by the fork server; anew where its socket would have too long a path."""
    longest = len(os.fsencode(tempfile.gettempdir())) + len("/pymp-xxxxxxxx/listener-xxxxxxxx")
    if longest > LONGEST_SOCKET:
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def _serve(
    pipe: Connection, environment: dict[str, str], initializer: Callable[..., None], initargs: tuple[Any, ...]
) -> None:
    os.environ.clear()  # those of the fork server's start may be others
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread_each()
    try:
        initializer(*initargs)
        _say(pipe, "ready", None)
        while True:
            function, task = pipe.recv()
            _say(pipe, "result", function(*task))
    except (EOFError, BrokenPipeError):  # the parent is gone
        return
    except Exception as error:
        _say_error(pipe, error)


def _say(pipe: Connection, kind: str, value: Any) -> None:
    pipe.send((kind, value, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))


def _say_error(pipe: Connection, error: Exception) -> None:
    try:
        _say(pipe, "error", error)
    except Exception:  # an exception that cannot be pickled
        _say(pipe, "error", RuntimeError(f"{type(error).__name__}: {error}"))


def _end_with_parent() -> None:
    """A parent that was killed outright cannot end us."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
