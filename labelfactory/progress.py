"""Progress with rate and time left: a bar in a terminal, plain lines elsewhere.

The first seconds of a step are its probe: where they show that it is long, one line says how long all of it takes, and how
much disk it needs; a disk that is too small for it ends the step there, and not hours later.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from labelfactory.errors import DataError

LINE_EVERY_SECONDS = 10.0
PROBE_SECONDS = 3.0
LONG_SECONDS = 60.0
MANY_BYTES = 100_000_000
"""A step that takes less of both is short: nothing is said before it."""


class Tick(Protocol):
    """Says that `count` more units are done, with a word on how it goes, and how many bytes on the disk they take."""

    def __call__(self, count: int = 1, note: str = "", size: int = 0) -> None:
        """Count on.

        Raises:
            DataError: the disk is too small for what is left.
        """


class Probe:
    """Looks at the first units of a step and says once what all of it costs.

    Args:
        title: the step.
        total: units in all.
        unit: what they are.
        folder: where it writes.
    """

    def __init__(self, title: str, total: int, unit: str, folder: Path = Path()) -> None:
        self.title, self.total, self.unit, self.folder = title, total, unit, folder
        self.first: tuple[float, int] | None = None
        self.done = self.size = 0
        self.open = True

    def add(self, count: int, size: int) -> str:
        """Count on; one line when the probe is over and the step is long, else nothing.

        What is done when the first units arrive counts for nothing: processes start, and a resumed step begins late.

        Raises:
            DataError: the disk is too small for what is left.
        """
        self.done += count
        if not self.open:
            return ""
        now = time.monotonic()
        if self.first is None:
            self.first = now, self.done
            return ""
        self.size += size
        seconds, units = now - self.first[0], self.done - self.first[1]
        if seconds < PROBE_SECONDS or not units:
            return ""
        self.open = False
        left = max(self.total - self.done, 0)
        return self._said(left, seconds / units * left, self.size // units * left)

    def _said(self, left: int, seconds: float, size: int) -> str:
        free = shutil.disk_usage(self.folder).free
        if size > free:
            raise DataError(
                f"{self.title}: {left} more {self.unit} need about {in_bytes(size)} on the disk, {in_bytes(free)} are free",
                "Make room, or move the project to a larger disk, and type the same again: what is finished is kept.",
            )
        if seconds < LONG_SECONDS and size < MANY_BYTES:
            return ""
        disk = f", about {in_bytes(size)} on the disk ({in_bytes(free)} free)" if size else ""
        return f"{self.title}: {left} more {self.unit} take about {in_time(seconds)}{disk}"


def in_time(seconds: float) -> str:
    """Seconds as a person says them: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def in_bytes(size: int) -> str:
    """Bytes as a person says them: 250 MB, 3.2 GB; never nothing for something."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(size / 1e6, 1):.0f} MB"


def say(text: str) -> None:
    """One plain line to the terminal or the log, at once."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int, unit: str = "images") -> Iterator[Tick]:
    """Show how far a long step is. Yields the function to call after each piece of work."""
    console = Console(stderr=True)
    probe = Probe(title, total, unit)
    if console.is_terminal:
        yield from _bar(console, title, total, probe)
    else:
        yield from _lines(title, total, unit, probe)


def _bar(console: Console, title: str, total: int, probe: Probe) -> Iterator[Tick]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:  # what follows says that it is done
        task = bar.add_task(title, total=total, note="")

        def tick(count: int = 1, note: str = "", size: int = 0) -> None:
            bar.update(task, advance=count)
            if line := probe.add(count, size):
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            if note:
                bar.update(task, note=note)

        yield tick


def _lines(title: str, total: int, unit: str, probe: Probe) -> Iterator[Tick]:
    start = last = time.monotonic()
    done = 0

    def tick(count: int = 1, note: str = "", size: int = 0) -> None:
        nonlocal done, last
        done += count
        if line := probe.add(count, size):
            say(line)
        now = time.monotonic()
        if done < total and now - last < LINE_EVERY_SECONDS:
            return
        last = now
        seconds = now - start
        left = seconds / done * (total - done) if done else 0.0
        rate = done / seconds if seconds > 0 else 0.0
        say(
            f"{title}: {done}/{total} {unit}, {rate:.1f}/s, {seconds:.0f} s, about {left:.0f} s left{note and '  ' + note}"
        )

    yield tick
