"""Progress of a long step, with rate and time left: a bar in a terminal, plain lines elsewhere."""

import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from labelfactory.console import say
from labelfactory.forecast import Probe
from labelfactory.interrupt import Interrupted
from labelfactory.work_note import note_progress

LINE_EVERY_SECONDS = 10.0


class Tick(Protocol):
    """Reports that `count` more units are done, with a note and the bytes that they take on the disk."""

    def __call__(self, count: int = 1, note: str = "", size: int = 0) -> None:
        """Count units.

        Raises:
            DataError: the disk is too small for the rest.
        """


@contextmanager
def progress(title: str, total: int, unit: str = "images", *, keeps: bool = False) -> Generator[Tick]:
    """Show the progress of a long step. Yields the function to call after each piece of work.

    Args:
        title: the step.
        total: units in all.
        unit: their name.
        keeps: whether an interruption keeps the units that are done; then its message counts them.
    """
    console = Console(stderr=True)
    probe = Probe(title, total, unit)
    start = time.monotonic()
    shown = _bar(console, title, total, probe) if console.is_terminal else _lines(title, total, unit, probe)
    try:
        with closing(shown):
            yield _noting(next(shown), probe, start)
    except KeyboardInterrupt as interruption:
        if not keeps:
            raise
        what = "" if unit == "images" else f"{unit} "
        raise Interrupted(f"{probe.done} of {total} {what}done") from interruption


def _noting(tick: Tick, probe: Probe, start: float) -> Tick:
    """A tick that also notes how far the stage is."""

    def noting(count: int = 1, note: str = "", size: int = 0) -> None:
        tick(count, note, size)
        note_progress(probe.done, probe.total, probe.unit, time.monotonic() - start)

    return noting


def _bar(console: Console, title: str, total: int, probe: Probe) -> Generator[Tick]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:  # the next output shows that it is done
        task = bar.add_task(title, total=total, note="")

        def tick(count: int = 1, note: str = "", size: int = 0) -> None:
            bar.update(task, advance=count)
            if line := probe.add(count, size):
                bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            if note:
                bar.update(task, note=note)

        yield tick


def _lines(title: str, total: int, unit: str, probe: Probe) -> Generator[Tick]:
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
