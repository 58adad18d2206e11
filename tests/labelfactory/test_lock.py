"""The lock of a file: one holder, who is waited for or not. The lock of a stage: tests/labelfactory/stage/test_faults.py."""

import os
import threading

import pytest

from labelfactory.lock import file_lock, project_lock


def test_a_second_holder_is_turned_away_and_the_next_one_is_not(tmp_path):
    """Closing the file frees it."""
    path = tmp_path / ".lock"
    with file_lock(path, wait=False) as first, file_lock(path, wait=False) as second:
        assert (first, second) == (True, False)
    with file_lock(path, wait=False) as third:
        assert third


def test_a_holder_is_waited_for(tmp_path):
    """The second gets the lock when the first has let go of it, and not before."""
    path, events = tmp_path / ".lock", []

    def take() -> None:
        with file_lock(path):
            events.append("second")

    with file_lock(path):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(0.2)
        events.append("first")
    thread.join()
    assert events == ["first", "second"]


def test_a_second_writer_of_the_project_says_for_whom_it_waits(tmp_path, monkeypatch, capsys):
    """And gets the project when the first has let go of it; the first may ask again without waiting."""
    monkeypatch.chdir(tmp_path)
    events = []

    def write() -> None:
        with project_lock("labelfactory profile demo"):
            events.append("second")

    with project_lock("labelfactory import demo"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.2)
        with project_lock("labelfactory import demo"):
            events.append("first")
    thread.join()
    assert events == ["first", "second"]
    assert f"waiting for labelfactory import demo (process {os.getpid()})" in capsys.readouterr().err


def test_the_project_is_free_again_after_an_error(tmp_path, monkeypatch, capsys):
    """Nobody waits for a writer that failed."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="damaged"), project_lock("labelfactory import demo"):
        raise ValueError("damaged")
    with project_lock("labelfactory profile demo"):
        assert capsys.readouterr().err == ""
