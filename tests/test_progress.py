"""Progress as plain lines where there is no terminal."""

import pytest

from labelfactory import progress as module
from labelfactory.progress import progress


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


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    """With the title and the count."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress("cams", 3) as tick:
        tick(3, "done")
    assert "cams" in capsys.readouterr().err
