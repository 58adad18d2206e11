"""Ctrl-C and SIGTERM: one message with the command to type again, exit code 130, and no process left behind.

The first signal raises KeyboardInterrupt in the main thread. Later ones are ignored, so that finished work can be written.
A program that has not ended after PATIENCE_SECONDS is ended where it is, with its child processes.
"""

import atexit
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import psutil

from labelfactory.console import say

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
EXIT_CODE = 130
PATIENCE_SECONDS = 8.0
"""Time to write finished work and to end child processes."""
CHILD_SECONDS = 6.0
"""Time for a child process to end by itself."""
LOOK_SECONDS = 0.5
COMMAND_VARIABLE = "LABELFACTORY_COMMAND"
"""Tells the stages of a command what was typed; empty where nobody typed it."""
DVC_VARIABLE = "DVC_STAGE"
"""Set by DVC for what it starts."""
SHELLS = frozenset({"sh", "bash", "dash", "zsh", "fish", "ksh"})
"""DVC starts stages through one; most of them make way for the stage."""


class Interrupted(KeyboardInterrupt):
    """An interruption, with what is kept.

    Args:
        kept: such as `93 of 149 done`; empty where the message does not say.
        told: a stage has printed the message already.
    """

    def __init__(self, kept: str = "", *, told: bool = False) -> None:
        super().__init__(kept)
        self.kept, self.told = kept, told


@dataclass
class _Program:
    """This process."""

    command: str = ""
    received: bool = False
    told: bool = False


_program = _Program()


def interrupted() -> bool:
    """Whether this program was told to end."""
    return _program.received


@contextmanager
def interruptible(command: str) -> Iterator[None]:
    """The body of a program, in the main thread. An interruption becomes one message and exit code 130.

    Args:
        command: what to type to go on; empty to leave it out of the message.
    """
    typed_before = os.environ.get(COMMAND_VARIABLE)
    _program.command = os.environ[COMMAND_VARIABLE] = command
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in before:  # not where it is ignored, as for a background process of a shell, or under nohup
        signal.signal(number, _interrupt)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        yield
    except BaseException as error:
        interruption = _interruption(error)
        if interruption is None:
            raise
        if not getattr(interruption, "told", False):
            _tell(getattr(interruption, "kept", ""))
        end_children(psutil.Process().children(recursive=True))
        if _program.received:
            _leave()
        sys.exit(EXIT_CODE)
    finally:
        if not _program.received:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            os.close(writer)
            if typed_before is None:
                del os.environ[COMMAND_VARIABLE]
            else:
                os.environ[COMMAND_VARIABLE] = typed_before


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _program.received:
        _program.received = True
        raise KeyboardInterrupt


def _interruption(error: BaseException) -> BaseException | None:
    """The KeyboardInterrupt that led to this error; libraries turn it into others. None if there is none."""
    if isinstance(error, SystemExit) and not error.code:
        return None
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause or (error if _program.received else None)


def _leave() -> NoReturn:
    """End as the interpreter would, without taking down libraries, which takes seconds, and without waiting for threads."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(EXIT_CODE)


def _watch(reader: int) -> None:
    """Read the numbers of signals, which arrive here even while the main thread is busy in a library."""
    with os.fdopen(reader, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] in SIGNALS:
                until = time.monotonic() + PATIENCE_SECONDS
                _wake(number[0], until)
                time.sleep(max(0.0, until - time.monotonic()))
                _give_up()


def _wake(number: int, until: float) -> None:
    """Send a signal to the main thread again until its handler has run: it may have come in the moment before a call that waits,
    or to another thread, and the call would last to its end. Not where a library has a handler of its own, for which a second
    signal may mean more.
    """
    while not _program.received and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        if not _program.received and signal.getsignal(number) is _interrupt:
            signal.pthread_kill(threading.main_thread().ident or 0, number)


def _give_up() -> None:
    """End this process and those below it at once."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _tell("")
    os._exit(EXIT_CODE)


def _tell(kept: str) -> None:
    """Print the message, once."""
    if _program.told:
        return
    _program.told = True
    lines = [f"Interrupted; {kept} are kept." if kept else "Interrupted."]
    lines += [f"Go on with: {_program.command}"] if _program.command else []
    with suppress(OSError):  # the terminal is gone
        say(" ".join(lines))


def end_children(processes: list[psutil.Process]) -> None:
    """End processes: SIGTERM, and SIGKILL for those that are still there after CHILD_SECONDS.

    Whoever started one can still ask how it ended: psutil's own waiting would take its exit code from them.
    """
    alive = [process for process in processes if not _cleans_up(process)]
    for end in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                end(process)
        until = time.monotonic() + CHILD_SECONDS
        while (alive := [process for process in alive if is_alive(process)]) and time.monotonic() < until:
            time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process has not ended yet."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended meanwhile
        return False


def _cleans_up(process: psutil.Process) -> bool:
    """Whether it is multiprocessing's resource tracker, which ends after its parent."""
    with suppress(psutil.Error):
        return "multiprocessing.resource_tracker" in " ".join(process.cmdline())
    return True


def hold_signals() -> None:
    """Let signals wait for the programs that this thread starts from here on, until they are `interruptible`: a library that is
    being imported cannot be interrupted without a traceback.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def typed_for_stage() -> str:
    """What a person typed that runs this stage; empty if that is not known."""
    if COMMAND_VARIABLE in os.environ:
        return os.environ[COMMAND_VARIABLE]
    if DVC_VARIABLE not in os.environ:
        return shlex.join([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]])
    with suppress(psutil.Error):
        words = _starter().cmdline()
        for place, word in enumerate(words[:2]):
            if Path(word).name == "dvc":
                return shlex.join(["dvc", *words[place + 1 :]])
    return ""


def end_with_dvc() -> None:
    """Interrupt this process when the DVC that started it has ended, as after a kill: its work would have no reader."""
    if DVC_VARIABLE in os.environ:
        with suppress(psutil.Error):
            threading.Thread(target=_outlive, args=(_starter(),), daemon=True).start()


def _starter() -> psutil.Process:
    """The process that started this one; the one before where that is a shell."""
    parent = psutil.Process(os.getppid())
    return (parent.parent() or parent) if parent.name() in SHELLS else parent


def _outlive(starter: psutil.Process) -> None:
    while is_alive(starter):
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _forget() -> None:
    """In a fork: its signals are its own."""
    for number in SIGNALS:
        if signal.getsignal(number) is _interrupt:
            signal.set_wakeup_fd(-1)
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


os.register_at_fork(after_in_child=_forget)
