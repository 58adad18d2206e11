"""A note of what a running stage has done so far, for `labelfactory status` and the page of the line.

.labelfactory/locks/<stage>.work   beside the stage's lock; a note of a process that was killed says nothing
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from labelfactory.lock import LOCKS

EVERY_SECONDS = 1.0


@dataclass
class Work:
    """What a stage is doing.

    Attributes:
        stage: its name.
        pid: its process.
        started: of the stage, in seconds since the epoch.
        done, total: units of the step that it is at; 0 of 0 before it counts any.
        unit: their name.
        left: seconds until that step ends, by its pace so far; None before it has one.
    """

    stage: str
    pid: int
    started: float
    done: int = 0
    total: int = 0
    unit: str = ""
    left: float | None = None


class _Noted:
    """The note of this process, while it runs a stage."""

    work: Work | None = None
    path = Path()
    last = 0.0


@contextmanager
def working_on(stage: str) -> Iterator[None]:
    """Note that this process runs a stage, whose lock it holds; the note goes with the stage."""
    _Noted.work, _Noted.path, _Noted.last = Work(stage, os.getpid(), time.time()), LOCKS / f"{stage}.work", 0.0
    _write()
    try:
        yield
    finally:
        _Noted.work = None
        with suppress(OSError):
            _Noted.path.unlink(missing_ok=True)


def note_progress(done: int, total: int, unit: str, seconds: float) -> None:
    """Note how far a step is; at most once a second, and nothing where this process runs no stage.

    Args:
        done: units that are done.
        total: units in all.
        unit: their name.
        seconds: since the step began.
    """
    work, now = _Noted.work, time.monotonic()
    if work is None or (done < total and now - _Noted.last < EVERY_SECONDS):
        return
    _Noted.last = now
    work.done, work.total, work.unit = done, total, unit
    work.left = seconds / done * (total - done) if done else None
    _write()


def read_works() -> list[Work]:
    """The stages that run in this folder now, as their notes say."""
    works = []
    for path in sorted(LOCKS.glob("*.work")):
        with suppress(OSError, ValueError, TypeError):  # it ended, or is writing
            work = Work(**json.loads(path.read_text(encoding="utf-8")))
            if psutil.pid_exists(work.pid) and psutil.Process(work.pid).create_time() <= work.started:
                works.append(work)
    return works


def _write() -> None:
    with suppress(OSError):  # a full disk; nothing but a display depends on it
        _Noted.path.write_text(json.dumps(asdict(_Noted.work)) if _Noted.work else "", encoding="utf-8")
