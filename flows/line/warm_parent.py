"""The process that stages are forked from: it loads libraries and nothing else, and starts no thread of its own.

    python flows/line/warm_parent.py SOCKET OWNER      the number of a socket's descriptor; the process that holds its other end

`warm_start.py` starts it and sends one request per stage. It holds no module of this project: a stage loads the code that is on
the disk when it starts. A stage is forked twice, so that it becomes a child of OWNER, which is a subreaper meanwhile, and waits
for OWNER to confirm that. This process ends with OWNER.

Protocol, in packets: `ready` once the libraries are loaded, or `error: …`. A request is JSON with the descriptors of the stage's
standard streams and of a pipe on which OWNER confirms the start; the answer is the process id of the stage, or `changed` where
libraries on the disk are not those that were loaded.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import threading
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = (
    *(
        "numpy",
        "torch",
        "torch._dynamo",
        "safetensors.torch",
        "cv2",
        "PIL.Image",
        "pandas",
        "pyarrow.parquet",
    ),
    *("pydantic", "yaml", "jinja2", "rich.console", "tqdm", "psutil", "numba"),
)
"""What stages load, most of it at their start. Not Lightning Fabric, which sets how torch looks for GPUs, nor
matplotlib, which has a folder deleted when a process ends that may be another's too."""
PROJECT = ("app", "flows", "labelfactory", "lineage", "models", "stages")
"""Packages of this project, which must not be loaded here."""
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a fork gets only once it is the stage."""
GO = b"g"
LONGEST = 65536
"""Bytes of a request or an answer."""
_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of <linux/prctl.h>."""


def main(number: int, owner: int) -> dict[str, Any]:
    """Answer requests until the owner is gone. Returns in each stage alone: its request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which ends this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != owner:  # gone before that call
        os._exit(1)
    connection = socket.socket(fileno=number)
    connection.set_inheritable(False)
    given = dict(os.environ)
    try:
        load(LIBRARIES)
    except Exception as error:
        refuse(connection, error)
    loaded = state_of_libraries()
    os.environ.clear()
    os.environ.update(given)  # libraries set variables; a stage starts with those that it is given
    connection.send(b"ready")
    while True:
        asked, files, _, _ = socket.recv_fds(connection, LONGEST, 4)
        if not asked:
            os._exit(0)
        if state_of_libraries() != loaded:
            connection.send(b"changed")
            os._exit(0)
        try:
            stage = fork_stage()
        except OSError as error:  # too many processes
            refuse(connection, error)
        if stage == 0:
            connection.close()
            request: dict[str, Any] = json.loads(asked)
            wait_for_owner(files, owner)
            return request
        for file in files:
            os.close(file)
        connection.send(b"%d" % stage)


def refuse(connection: socket.socket, error: Exception) -> NoReturn:
    """Say why no stage can be forked, and end."""
    connection.send(f"error: {type(error).__name__}: {error}".encode()[:LONGEST])
    os._exit(1)


def load(names: Sequence[str]) -> None:
    """Load the libraries, so that forks share them.

    Raises:
        ImportError: a library is missing.
        RuntimeError: this process may not be forked any more, or has loaded a module of this project.
    """
    for name in names:
        importlib.import_module(name)
    if found := [name for name in PROJECT if name in sys.modules]:
        raise RuntimeError(f"libraries have loaded {', '.join(found)}")
    if threading.active_count() > 1:
        raise RuntimeError("libraries have started threads")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise RuntimeError("libraries have initialised CUDA")
    gc.collect()
    gc.freeze()  # no collection writes to what forks share


def state_of_libraries() -> list[tuple[str, int, int]]:
    """What changes when a library is installed or removed: the folders that hold them."""
    files = [getattr(sys.modules.get(name.partition(".")[0]), "__file__", None) for name in LIBRARIES]
    folders = {Path(file).parent.parent for file in files if file}
    return [(str(folder), state.st_ino, state.st_mtime_ns) for folder in sorted(folders) if (state := folder.stat())]


def fork_stage() -> int:
    """Fork a process that is an orphan, and so a child of the nearest subreaper. Returns its id here, and 0 in it.

    Raises:
        OSError: no process can be forked.
    """
    reader, writer = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    with warnings.catch_warnings():
        # Python 3.12 warns of threads: those of OpenBLAS and Arrow, which end before a fork and start after it
        warnings.simplefilter("ignore", DeprecationWarning)
        middle = os.fork()
        if middle == 0:
            try:
                stage = os.fork()
            except OSError:
                os._exit(1)
            if stage:
                os.write(writer, b"%d" % stage)
                os._exit(0)
            os.close(reader)
            os.close(writer)
            return 0
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    os.close(writer)
    os.waitpid(middle, 0)
    answer = os.read(reader, 20)
    os.close(reader)
    if not answer:
        raise OSError("cannot fork")
    return int(answer)


def wait_for_owner(files: list[int], owner: int) -> None:
    """Take over the standard streams, and end unless the owner has this process as its child."""
    *streams, confirmed = files
    for number, file in enumerate(streams):
        os.dup2(file, number)
    if os.read(confirmed, 1) != GO or os.getppid() != owner:
        os._exit(1)
    for file in files:
        os.close(file)


def become(request: dict[str, Any]) -> None:
    """What differs between this process and a newly started `python -m stages.NAME`, signals last."""
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    for name in request["unset"]:
        os.environ.pop(name, None)
    if not sys.flags.safe_path:
        sys.path.insert(0, request["folder"])
    importlib.invalidate_caches()
    output: Any = sys.stdout
    if not output.write_through:
        output.reconfigure(line_buffering=output.isatty())
    sys.modules["numpy"].random.seed()  # generators that nobody seeds differ; Python's own has seen to that
    sys.modules["torch"].default_generator.seed()
    sys.orig_argv = request["words"]
    sys.argv = ["-m"]
    _show(request["words"])
    for number in (*HELD, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else default)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])


def _show(words: list[str]) -> None:
    """Have `ps` show these words, where they fit: the kernel reads them from this process's memory."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # fields 48 and 49 of proc(5)
    text = "\0".join([*words, ""]).encode()
    if start and len(text) <= end - start:
        ctypes.memmove(start, text.ljust(end - start, b"\0"), end - start)


def run(module: str) -> NoReturn:
    """Run `python -m MODULE`, and end this process with the interpreter's exit code for it."""
    code = 0
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]  # what `python -m` calls
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    end_program(code)


def end_program(code: int) -> NoReturn:
    """End as the interpreter would, without taking down what is loaded, which takes a second: threads, atexit, output."""
    for finish in (threading._shutdown, atexit._run_exitfuncs, _flush):  # type: ignore[attr-defined]
        try:
            finish()
        except BaseException:
            code = code or 120
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    os._exit(code & 0xFF)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    ctypes.CDLL(None).fflush(None)


if __name__ == "__main__":
    if not sys.flags.safe_path:
        del sys.path[0]  # this file's folder; a stage has the project's
    wanted = main(int(sys.argv[1]), int(sys.argv[2]))
    become(wanted)
    run(wanted["module"])
