"""The lock of a file: one holder, who is waited for or not. The lock of a stage: tests/labelfactory/stage/test_faults.py."""

import threading

from labelfactory.lock import file_lock


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
