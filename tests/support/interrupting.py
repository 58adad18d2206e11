"""Start a command as a person does, send it a signal at a chosen moment, and see that nothing of it is left."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from starts import starts
from warm_python import AS_TYPED
from workspace import BIN

from labelfactory.interrupt import is_alive

PATIENCE_SECONDS = 300.0
END_SECONDS = 60.0
"""A program ends by itself after 8 seconds; on a busy machine later."""

Send = Callable[[int, int], None]
"""How a signal is sent: `os.killpg`, as a terminal does, or `os.kill`."""


@starts("starts_program")
def start(folder: Path, *words: str, workers: int = 1) -> "subprocess.Popen[str]":
    """Start a command in a workspace with its own code, cold, as the leader of a process group and with the
    shell that cron names. Its output is in `said.log`.
    """
    environment = {
        **os.environ,
        **AS_TYPED,
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "LABELFACTORY_DEVICE": "cpu",
        "LABELFACTORY_WORKERS": str(workers),
        "COLUMNS": "200",
        "SHELL": "/bin/sh",
    }
    with (folder / "said.log").open("w") as log:
        return subprocess.Popen(
            [BIN / words[0], *words[1:]], cwd=folder, env=environment, stdout=log, stderr=log, process_group=0
        )


def said(folder: Path) -> str:
    """What the command printed."""
    return (folder / "said.log").read_text()


def interrupted(
    folder: Path, words: list[str], ready: Callable[[], Any], send: Send, number: int, *, workers: int = 1
) -> int:
    """Start a command, send it a signal as soon as it is `ready`, and wait until all that it started has ended.

    Returns:
        Its exit code.
    """
    process = start(folder, *words, workers=workers)
    try:
        end = time.monotonic() + PATIENCE_SECONDS
        while not ready():
            assert process.poll() is None, said(folder)
            assert time.monotonic() < end, said(folder)
            time.sleep(0.05)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        send(process.pid, number)
        code = process.wait(END_SECONDS)
        end = time.monotonic() + END_SECONDS
        while left := [one for one in family if is_alive(one)]:
            assert time.monotonic() < end, f"still there: {left}\n{said(folder)}"
            time.sleep(0.05)
        return code
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
