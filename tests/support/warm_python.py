"""A `python` that starts warm: a server has loaded the large libraries, and each program is a fork of it.

A stage of the small line spends seconds on importing torch and milliseconds on its pictures, a flow ten seconds on Prefect,
torch and MLflow. Only libraries are loaded beforehand, never a module of this repository: a program finds the code of its own
folder, as a cold one would. What PROGRAMS names starts so, also below others: `sys.executable` is the warm one in all that it
starts. All else (processes of a pool, our workers and watchers) is the interpreter itself, and so is everything where the
server cannot be reached or $COLD is set.

    python tests/support/warm_python.py FOLDER      the server: FOLDER/bin/python is the warm one; ends with its standard input
"""

import atexit
import gc
import importlib
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = (
    "torch torch._dynamo lightning_fabric safetensors.torch scipy.sparse cv2 PIL.Image pandas pyarrow.parquet "
    "pydantic yaml matplotlib.figure jinja2 typer rich.console rich.progress duckdb numba networkx "
    "dvc.cli dvc.commands.repro dvc.repo.reproduce dvc.repo.index dvc.dvcfile dvc.stage scmrepo.git dulwich.repo ruamel.yaml "
    "mlflow mlflow.store.tracking.sqlalchemy_store prefect prefect.flow_engine "
    "prefect.cli.server prefect.server.api.server prefect.workers.process"
)
PROGRAMS = (
    ("-m", "stages."),
    ("-m", "flows.line.dvc_process"),
    ("-m", "flows.server.prefect_server"),
    ("-m", "prefect"),
    ("-c", "from app.main "),
    ("-c", "from dvc.cli "),
    ("-c", "from flows."),
)
"""How the words of a program that starts warm begin."""
OF_PREFECT = ("prefect", "flows.server.prefect_server", "from flows.")
"""How the second word of those begins that import Prefect at once, and so have its logging."""
KNOWN = "LABELFACTORY_TESTS_WARM_PYTHON"
"""Names the folder of a server that is running, for the processes that a test starts."""
COLD = "LABELFACTORY_TESTS_COLD"
PLAIN_STARTS = "LABELFACTORY_PLAIN_STARTS"
"""Tells a run to leave its stages to DVC, which starts them here; without it, it would load the libraries once more."""
AS_TYPED = {COLD: "1", PLAIN_STARTS: ""}
"""For a program that starts as a person would start it: cold, and with the warm parent of its own for its stages."""
START_SECONDS = 300.0
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

words = sys.argv[1:]
cold = bool(os.environ.get("{cold}"))
server = socket.socket(socket.AF_UNIX)
try:
    if cold or not any(words[:1] == [how] and words[1].startswith(what) for how, what in {programs}):
        raise OSError
    server.connect("{folder}/socket")
except OSError:
    os.execv("{python}", ["{python}" if cold else "{folder}/bin/python", *words])
asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [b"%10d" % len(asked)], [0, 1, 2])
server.sendall(asked)
program = int(server.recv(10) or b"0")
pass_on = lambda number, frame: os.killpg(program, number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    if program and signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, pass_on)
code = int(server.recv(10) or b"1")
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def warm_python() -> Path:
    """The folder of the warm `python` alone; its server is started by the first process that asks, and ends with that one.

    On other systems than Linux, the folder of the interpreter itself.
    """
    start_warming()
    if KNOWN not in os.environ:
        return Path(sys.executable).parent
    python = Path(os.environ[KNOWN]) / "bin/python"
    end = time.monotonic() + START_SECONDS
    while not python.exists():
        assert time.monotonic() < end, "the server of warm programs did not start"
        time.sleep(0.05)
    return python.parent


def start_warming() -> None:
    """Start the server and do not wait for it."""
    if KNOWN in os.environ or not hasattr(os, "pidfd_open"):
        return
    folder = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))  # a socket's path has to be short
    server = subprocess.Popen([sys.executable, "-P", __file__, folder], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(end, server, folder, os.getpid())
    os.environ[KNOWN] = str(folder)


def end(server: subprocess.Popen[bytes], folder: Path, starter: int) -> None:
    """Close what the server lives by; a fork of the process that started it leaves it alone."""
    if os.getpid() == starter:
        server.communicate(timeout=30)
        shutil.rmtree(folder)


def serve(folder: Path) -> list[Any]:
    """Answer until standard input ends. Returns in each forked program alone: its words, folder and environment."""
    for name in LIBRARIES.split():
        importlib.import_module(name)
    environment = Path(sys.prefix)  # the folder is the same virtual environment with another `python`
    shutil.copyfile(environment / "pyvenv.cfg", folder / "pyvenv.cfg")
    (folder / "lib").symlink_to(environment / "lib")
    (folder / "bin").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(16)
    python = folder / "python"
    python.write_text(CLIENT.format(python=sys.executable, folder=folder, cold=COLD, programs=PROGRAMS))
    python.chmod(0o755)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    gc.freeze()  # forks share what is loaded: nobody writes to it to count references
    python.rename(folder / "bin/python")  # whoever waits for it may connect
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return watched(connection)
        connection.close()


def watched(connection: socket.socket) -> list[Any]:
    """Fork a program and tell its caller how it ends; a caller that is killed takes it along. Returns in the program alone."""
    size, files, _, _ = socket.recv_fds(connection, 10, 3)
    asked = b""
    while len(asked) < int(size):
        asked += connection.recv(int(size) - len(asked))
    program = os.fork()
    if program == 0:
        os.setpgid(0, 0)  # a group of its own, as it may end its group
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        found: list[Any] = json.loads(asked)
        return found
    os.setpgid(program, program)  # whoever of the two comes first
    for file in files:
        os.close(file)
    ended = os.pidfd_open(program)
    with suppress(BrokenPipeError):  # the caller is gone already: then the program has to go too
        connection.sendall(b"%10d" % program)
    ready, _, _ = select.select([connection, ended], [], [])
    if ended not in ready:
        os.killpg(program, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    if ended in ready:
        connection.sendall(b"%10d" % code)
    os._exit(0)


def run(words: list[str], folder: str, environment: dict[str, str], warm: Path) -> None:
    """What an interpreter does with `-m MODULE …` or `-c CODE …` in that folder and environment."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    here = folder if words[0] == "-m" else ""
    sys.path[:0] = [here, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.executable = str(warm / "bin/python")
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [words[0], *words[2:]]
    sys.modules["prefect.context"].refresh_global_settings_context()  # not those of the server's environment
    sys.modules["prefect.logging.configuration"].setup_logging()
    if not words[1].startswith(OF_PREFECT):  # who imports Prefect hears every logger, all others only warnings
        logging.root.handlers.clear()
        logging.root.setLevel(logging.WARNING)
    if not hasattr(sys.modules.get(words[1]), "__path__"):  # a package is loaded, its __main__ is not
        sys.modules.pop(words[1], None)
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = types.ModuleType("__main__")  # what a pool's processes are told to load: nothing
        exec(words[1], vars(sys.modules["__main__"]))


def end_program(program: Callable[[], None]) -> NoReturn:
    """Run it and end the process as the interpreter would, without taking down all that was loaded, which takes seconds."""
    code = 0
    try:
        program()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        code = 1
        traceback.print_exc()
    for finish in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
        try:
            finish()
        except BaseException:
            code = code or 1
            traceback.print_exc()
    os._exit(code)


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    asked = serve(FOLDER)
    end_program(lambda: run(*asked, FOLDER))
