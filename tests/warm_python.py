"""A `python` that starts warm: a server has loaded the large libraries, and each program is a fork of it.

A stage of the small line spends seconds on importing torch and milliseconds on its pictures. Only libraries are loaded
beforehand, never a module of this repository: a program finds the code of its own folder, as a cold one would. Stages and the
command `labelfactory` start warm. All else (processes of a pool, Prefect's server and workers with what they run, whatever a
test kills) is the interpreter itself, and so is everything where the server cannot be reached or $COLD is set.

    python tests/warm_python.py FOLDER      the server: FOLDER/python is the warm one; ends with its standard input
"""

import atexit
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch torch._dynamo lightning_fabric safetensors.torch scipy.sparse cv2 PIL.Image pandas pyarrow.parquet "
    "pydantic yaml matplotlib.figure jinja2 typer rich.console rich.progress"
)
KNOWN = "LABELFACTORY_TESTS_WARM_PYTHON"
"""Names the folder of a server that is running, for the processes that a test starts."""
COLD = "LABELFACTORY_TESTS_COLD"
CLIENT = """#!{python} -IS
import json, os, signal, socket, sys

words = sys.argv[1:]
stage = words[:1] == ["-m"] and words[1].startswith("stages.")
command = words[:2] == ["-c", "from app.main import main; main()"]
server = socket.socket(socket.AF_UNIX)
try:
    if os.environ.get("{cold}") or not (stage or command):
        raise OSError
    server.connect("{folder}/socket")
except OSError:
    os.execv("{python}", ["{python}", *words])
asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [b"%10d" % len(asked)], [0, 1, 2])
server.sendall(asked)
code = int(server.recv(10) or b"1")
if code < 0:
    if -code != signal.SIGKILL:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


def warm_python() -> Path:
    """The folder of the warm `python`; its server is started by the first process that asks, and ends with that one.

    On other systems than Linux, the folder of the interpreter itself.
    """
    if not hasattr(os, "pidfd_open"):
        return Path(sys.executable).parent
    if KNOWN not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="warm-", dir="/tmp"))  # a socket's path has to be short
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert server.stdin, "it lives as long as this is open"
        assert server.stdout
        assert server.stdout.readline(), "the server of warm programs did not start"
        atexit.register(end, server, folder, os.getpid())
        os.environ[KNOWN] = str(folder)
    return Path(os.environ[KNOWN])


def end(server: subprocess.Popen[bytes], folder: Path, starter: int) -> None:
    """Close what the server lives by; a fork of the process that started it leaves it alone."""
    if os.getpid() == starter:
        server.communicate(timeout=30)
        shutil.rmtree(folder)


def serve(folder: Path) -> list[Any]:
    """Answer until standard input ends. Returns in each forked program alone: its words, folder and environment."""
    for name in LIBRARIES.split():
        importlib.import_module(name)
    client = CLIENT.format(python=sys.executable, folder=folder, cold=COLD)
    (folder / "python").write_text(client)
    (folder / "python").chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen(16)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, 0], [], [])
        if 0 in ready:
            raise SystemExit
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
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        found: list[Any] = json.loads(asked)
        return found
    for file in files:
        os.close(file)
    ended = os.pidfd_open(program)
    ready, _, _ = select.select([connection, ended], [], [])
    if ended not in ready:
        os.kill(program, signal.SIGKILL)
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
    sys.executable = str(warm / "python")
    sys.argv = [words[0], *words[2:]]
    if words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = types.ModuleType("__main__")  # what a pool's processes are told to load: nothing
        exec(words[1], vars(sys.modules["__main__"]))


if __name__ == "__main__":
    WARM = Path(sys.argv[1])
    run(*serve(WARM), WARM)
