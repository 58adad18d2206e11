"""Starts the stages of a run as forks of one process that has loaded the libraries, which takes each stage seconds otherwise.

Such a stage is what `python -m stages.<name>` would be: a child of the process that runs DVC, with the same environment, folder,
streams, signals and exit code, and with the code on the disk. The process with the libraries (`warm_parent.py`) is started by
the first stage, through the shell that DVC would use, and ends with the run or with whoever runs it. Where it cannot be used,
DVC starts the stage itself, as bare `dvc repro` does.
"""

import ctypes
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dvc.stage import run as dvc_run

from flows.line.dvc_repo import MAKE_WAY
from flows.line.warm_parent import GO, HELD, LONGEST
from labelfactory.interrupt import COMMAND_VARIABLE, DVC_VARIABLE, interrupted
from labelfactory.pool.process import FORKS_SAFELY

PLAIN_VARIABLE = "LABELFACTORY_PLAIN_STARTS"
"""Not empty: DVC starts every stage itself."""
PARENT = Path(__file__).with_name("warm_parent.py")
STAGE = re.compile(r"python -m (stages\.\w+)")
OF_A_STAGE = (DVC_VARIABLE, COMMAND_VARIABLE)
"""Variables in which stages may differ. Libraries read others when they are loaded."""
START_SECONDS = 300.0
END_SECONDS = 5.0
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of <linux/prctl.h>."""

Kind = tuple[tuple[str, ...], str, dict[str, str]]
"""What stages of one parent have in common: the shell's words before the command, folder, and the environment of libraries."""

logger = logging.getLogger(__name__)


class CannotError(Exception):
    """A stage cannot be started warm; it has not run."""


class GoneError(CannotError):
    """The parent serves no more: it has ended, or libraries were installed or removed since it has loaded them."""


@contextmanager
def warm_starts() -> Iterator[None]:
    """Have DVC's stages start warm in the body, where they can. Stages of DVC's experiments run in processes of their own."""
    if not FORKS_SAFELY or os.environ.get(PLAIN_VARIABLE):
        yield
        return
    starts, before = Starts(), dvc_run.subprocess
    dvc_run.subprocess = SimpleNamespace(**{**vars(before), "Popen": starts.start})
    try:
        yield
    finally:
        dvc_run.subprocess = before
        starts.close()


class Starts:
    """Takes the place of `subprocess.Popen` for DVC."""

    def __init__(self) -> None:
        self._parent: Parent | None = None
        self._fails = False

    def start(self, words: Sequence[str], **options: Any) -> Any:
        """Start a stage. Gives what has `communicate` and `returncode`, as DVC uses them."""
        module = None if self._fails else stage_in(words, options)
        if module is None:
            return subprocess.Popen(words, **options)
        try:
            return self._fork(module, words, options["env"], options["cwd"])
        except (CannotError, OSError, ValueError) as error:
            logger.debug("%s starts without a warm parent: %s", module, error)
            self.close()
        if interrupted():  # which has ended the parent
            return Stage(0, -signal.SIGTERM)
        return subprocess.Popen(words, **options)

    def _fork(self, module: str, words: Sequence[str], environment: Mapping[str, str], folder: str) -> "Stage":
        kind = (tuple(words[:-1]), folder, {n: value for n, value in environment.items() if n not in OF_A_STAGE})
        if self._parent is not None and self._parent.serves(kind):
            with suppress(GoneError):
                return self._parent.fork(module, environment)
        self.close()
        self._fails = True
        self._parent = Parent(kind, environment)
        stage = self._parent.fork(module, environment)
        self._fails = False
        return stage

    def close(self) -> None:
        """End the process with the libraries."""
        parent, self._parent = self._parent, None
        if parent is not None:
            parent.close()


class Parent:
    """The process with the libraries.

    Args:
        kind: what its stages have in common.
        environment: of the first stage.

    Raises:
        CannotError: it did not start.
    """

    def __init__(self, kind: Kind, environment: Mapping[str, str]) -> None:
        self._kind = kind
        shell, self._folder, _ = kind
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(START_SECONDS)
        command = shlex.join(["python", str(PARENT), str(theirs.fileno()), str(os.getpid())])
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [*shell, command], env=environment, cwd=self._folder, pass_fds=[theirs.fileno()]
                )
        except OSError:
            self._socket.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            self._receive(b"ready")
        except CannotError:
            self.close()
            raise

    def serves(self, kind: Kind) -> bool:
        """Whether it is alive, and for such stages."""
        return self._kind == kind and self._process.poll() is None

    def fork(
        self,
        module: str,
        environment: Mapping[str, str],
        *,
        folder: str = "",
        streams: Sequence[int] = (0, 1, 2),
    ) -> "Stage":
        """Start a stage.

        Args:
            module: its module.
            environment: of it.
            folder: where it runs; empty for that of the kind.
            streams: descriptors of its standard input, output and errors.

        Raises:
            CannotError: it did not start, and will not.
            GoneError: so too, and with another parent it may.
        """
        reader, writer = os.pipe()
        try:
            try:
                request = json.dumps(_request(module, environment, folder or self._folder)).encode()
                if len(request) > LONGEST:
                    raise CannotError("what was typed is too long")
                with _subreaper():
                    with suppress(ConnectionError):  # what is received says so
                        socket.send_fds(self._socket, [request], [*streams, reader])
                    stage = int(self._receive())
            finally:
                os.close(reader)
            if _is_child(stage):
                os.write(writer, GO)
                return Stage(stage)
        finally:
            os.close(writer)  # a stage that has not read GO ends
        raise CannotError("the stage is not a child of this process")

    def _receive(self, expected: bytes = b"") -> bytes:
        answer = b""
        with suppress(ConnectionError):
            answer = self._socket.recv(LONGEST)
        if not answer:
            raise GoneError("the parent has ended")
        if answer == b"changed":
            raise GoneError("libraries have changed")
        if expected and answer != expected:
            raise CannotError(answer.decode(errors="replace"))
        return answer

    def close(self) -> None:
        """End it: it sees its connection close."""
        self._socket.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # it is loading
            self._process.kill()
            self._process.wait()


class Stage:
    """A stage that runs as a child of this process.

    Args:
        pid: its process.
        returncode: how it ended, as of `subprocess.Popen`; None where it has not ended yet.
    """

    def __init__(self, pid: int, returncode: int | None = None) -> None:
        self.pid, self.returncode = pid, returncode

    def communicate(self) -> None:
        """Wait until it has ended."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def stage_in(words: Sequence[str], options: Mapping[str, Any]) -> str | None:
    """The module of the stage that DVC starts with these words and options of `Popen`; None where it must start it itself."""
    plain = {"shell": False, "close_fds": True}
    if set(options) != {"cwd", "env", *plain} or any(options[name] is not plain[name] for name in plain):
        return None
    if Path(words[0]).name not in MAKE_WAY or words[-2] != "-c":
        return None
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # the exit code of a child would be lost
        return None
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed at the start: what is open there now is another file
        return None
    found = STAGE.fullmatch(words[-1])
    return found[1] if found and all(_is_open(number) for number in (0, 1, 2)) else None


def _request(module: str, environment: Mapping[str, str], folder: str) -> dict[str, Any]:
    """What `warm_parent.become` needs to know, of the thread that starts the stage."""
    return {
        "module": module,
        "words": ["python", "-m", module],
        "folder": folder,
        "environment": {name: environment[name] for name in OF_A_STAGE if name in environment},
        "unset": [name for name in OF_A_STAGE if name not in environment],
        "ignored": [int(n) for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN],
        "blocked": [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    }


def _is_open(number: int) -> bool:
    with suppress(OSError):
        os.fstat(number)
        return True
    return False


def _is_child(pid: int) -> bool:
    """Whether a process is a child of this one that has not ended."""
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG) == (0, 0)
    return False


@contextmanager
def _subreaper() -> Iterator[None]:
    """Let orphans below this process become its children. Raises CannotError where the system does not."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_SUBREAPER, 1, 0, 0, 0) != 0:
        raise CannotError("no orphan can become a child of this process")
    try:
        yield
    finally:
        prctl(_SUBREAPER, 0, 0, 0, 0)
