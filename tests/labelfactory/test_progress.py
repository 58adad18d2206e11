"""Progress as plain lines where there is no terminal."""

from contextlib import AbstractContextManager
from types import SimpleNamespace

import pytest

from labelfactory import forecast
from labelfactory import progress as module
from labelfactory.console import in_bytes, in_time
from labelfactory.errors import DataError
from labelfactory.interrupt import Interrupted
from labelfactory.progress import Tick, progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_seldom_and_the_last_one_always(clock, capsys):
    """Count, rate, time passed, time left, and the caller's note."""
    with progress("cams", 10) as tick:
        for second in range(10):
            clock[0] = 102.0 + 2 * second
            tick(1, f"loss {second}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cams: 5/10 images, 0.5/s, 10 s, about 10 s left  loss 4",
        "cams: 10/10 images, 0.5/s, 20 s, about 0 s left  loss 9",
    ]


def test_nothing_to_do_divides_by_nothing(clock, capsys):
    """An empty step, and a resumed one that starts at its end."""
    with progress("cams", 0) as tick:
        tick(0)
    with progress("train", 6, "steps") as tick:
        tick(6)
    assert "train: 6/6 steps" in capsys.readouterr().err


def test_an_error_inside_comes_out(clock):
    """The bar swallows nothing."""
    with pytest.raises(KeyboardInterrupt), progress("cams", 3):
        raise KeyboardInterrupt


@pytest.mark.parametrize(("unit", "kept"), [("images", "2 of 3 done"), ("files", "2 of 3 files done")])
def test_an_interruption_counts_what_is_kept(clock, unit, kept):
    """Where the step says that it keeps what is done; in a terminal too."""
    with pytest.raises(Interrupted) as caught:
        interrupted_after_two(progress("cams", 3, unit, keeps=True))
    assert caught.value.kept == kept
    with pytest.raises(KeyboardInterrupt) as other:
        interrupted_after_two(progress("cams", 3, unit))
    assert not isinstance(other.value, Interrupted)


def interrupted_after_two(step: AbstractContextManager[Tick]) -> None:
    with step as tick:
        tick(2)
        raise KeyboardInterrupt


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    """With the title and the count."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress("cams", 3) as tick:
        tick(3, "done")
    assert "cams" in capsys.readouterr().err


# --- the probe --------------------------------------------------------------------------------------------------------


def ticks(clock, total: int, seconds: float, *, size: int = 0, before: int = 0) -> None:
    """A step of `total` units, each so long and so large, of which some were done before."""
    with progress("cams", total) as tick:
        if before:
            tick(before)
        for _ in range(before, total):
            clock[0] += seconds
            tick(1, size=size)


@pytest.mark.parametrize("before", [0, 40])
def test_a_long_step_says_at_its_start_what_it_costs(clock, capsys, before):
    """Once, from the first seconds: time, disk, and what is free. What was done before costs nothing."""
    ticks(clock, 100, 2.0, size=30_000_000, before=before)
    said = [line for line in capsys.readouterr().err.splitlines() if "more images take" in line]
    left = 100 - before - (3 if before == 0 else 2)
    assert len(said) == 1
    assert said[0].startswith(
        f"cams: {left} more images take about {2 * left / 60:.0f} min, about {0.03 * left:.1f} GB on"
    )


def test_a_short_step_says_nothing_before(clock, capsys):
    """One line when all is well; but one that fills the disk is no short one."""
    ticks(clock, 20, 1.0)
    assert "more images" not in capsys.readouterr().err
    ticks(clock, 20, 1.0, size=50_000_000)
    assert "more images take about 16 s, about 800 MB" in capsys.readouterr().err


def test_a_disk_that_is_too_small_ends_the_step_at_its_start(clock, monkeypatch):
    """Hours later it would be full; the error says how much is missing."""
    monkeypatch.setattr(forecast.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_000_000_000))
    with pytest.raises(DataError, match=r"97 more images need about 2\.9 GB on the disk, 1\.0 GB are free"):
        ticks(clock, 100, 2.0, size=30_000_000)
    ticks(clock, 30, 2.0, size=30_000_000)


@pytest.mark.parametrize(("seconds", "said"), [(4, "4 s"), (99, "99 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_said_as_people_say_them(seconds, said):
    """Seconds, minutes, hours."""
    assert in_time(seconds) == said


@pytest.mark.parametrize(("size", "said"), [(1, "1 MB"), (250_400_000, "250 MB"), (3_250_000_000, "3.2 GB")])
def test_bytes_are_said_as_people_say_them(size, said):
    """Megabytes and gigabytes."""
    assert in_bytes(size) == said
