"""Which runs count as dead: laws of the watcher, without Prefect."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, QuietHandler

from flows.server.api import Api
from flows.server.intervals import EVERY_SECONDS, beat_seconds
from flows.server.watch import MOST_ATTEMPTS, Sign, Watcher, revive, sign_of
from flows.server.webhook import WEBHOOK_VARIABLE
from labelfactory.errors import UserError

runs = st.sampled_from("abc")
beats = st.dictionaries(runs, st.integers(0, 3))


def signs(found: dict[str, int]) -> list[tuple[str, Sign]]:
    return [(run, Sign("Running", str(beat))) for run, beat in found.items()]


@given(rounds=st.lists(beats, min_size=1, max_size=12), limit=st.integers(1, 6))
def test_dead_is_who_was_there_unchanged_all_the_time(rounds, limit):
    """Round by round, a second apart: dead is a run whose sign is the same in each of the last `limit` + 1 rounds."""
    watcher = Watcher(limit=limit, start_limit=99)
    for now, found in enumerate(rounds):
        dead = watcher.silent(signs(found), float(now))
        last = rounds[max(now - limit, 0) : now + 1]
        expected = {run for run in found if len(last) == limit + 1 and all(r.get(run) == found[run] for r in last)}
        assert set(dead) == expected


def test_a_run_that_beats_lives_for_ever():
    """However long it runs."""
    watcher = Watcher(limit=2, start_limit=2)
    assert [watcher.silent(signs({"a": now}), float(now)) for now in range(100)] == [[]] * 100


def test_a_server_that_was_away_kills_nobody():
    """Silence counts from the first answer after the outage."""
    watcher = Watcher(limit=10, start_limit=10)
    watcher.silent(signs({"a": 1}), 0.0)
    watcher.forget()
    assert watcher.silent(signs({"a": 1}), 1000.0) == []
    assert watcher.silent(signs({"a": 1}), 1009.0) == []
    assert watcher.silent(signs({"a": 1}), 1010.0) == ["a"]


def test_a_state_that_changes_is_a_sign_of_life():
    """Pending, then running: two states, though nobody has beaten yet."""
    watcher = Watcher(limit=5, start_limit=5)
    watcher.silent([("a", Sign("pending", ""))], 0.0)
    assert watcher.silent([("a", Sign("running", ""))], 5.0) == []


def test_who_starts_has_more_time():
    """A process that loads torch on a busy machine is not dead; one that never comes is."""
    pending = {"state": {"id": "p", "type": "PENDING"}, "labels": None}
    watcher = Watcher(limit=30, start_limit=150)
    watcher.silent([("a", sign_of(pending))], 0.0)
    assert watcher.silent([("a", sign_of(pending))], 149.0) == []
    assert watcher.silent([("a", sign_of(pending))], 150.0) == ["a"]
    running = {"state": {"id": "r", "type": "RUNNING"}, "labels": {"labelfactory.heartbeat": "now"}}
    watcher.silent([("a", sign_of(running))], 150.0)
    assert watcher.silent([("a", sign_of(running))], 180.0) == ["a"]


class History(Loopback):
    """A server that knows the states of one run and takes new ones."""

    def __init__(self) -> None:
        self.states: list[dict[str, Any]] = []
        history = self

        class Handler(QuietHandler):
            def answer(self) -> None:
                if self.command == "POST":
                    history.states.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["state"])
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(history.states).encode())

        super().__init__(Handler)


@pytest.mark.parametrize("begins", [True, False])
def test_a_run_is_planned_anew_twice_whether_or_not_it_begins(monkeypatch, begins):
    """A process that dies before its first beat each time must not keep a worker busy for ever."""
    server = History()
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"{server.root}/hook")
    monkeypatch.setattr("flows.server.watch.post", lambda address, content: None)
    server.states.append({"type": "PENDING", "name": "Pending"})
    for attempt in range(1, MOST_ATTEMPTS + 1):
        run = {"id": "r", "name": "whole line", "state": server.states[0], "run_count": attempt if begins else 0}
        before = len(server.states)
        revive(Api(f"{server.root}/api"), run, 600.0)
        planned = ["Crashed", "AwaitingRetry"] if attempt < MOST_ATTEMPTS else ["Crashed"]
        assert [state["name"] for state in server.states[before:]] == planned
    server.close()


@pytest.mark.parametrize("value", ["0", "-1", "soon", "inf", "nan"])
def test_a_pace_that_is_none_is_refused(monkeypatch, value):
    """Two parts, as all that a user can mend."""
    monkeypatch.setenv("LABELFACTORY_HEARTBEAT_SECONDS", value)
    with pytest.raises(UserError, match="must be a positive number") as caught:
        beat_seconds()
    assert caught.value.remedy


def test_the_pace_comes_from_the_environment(monkeypatch):
    """Or it is the one that the documents name."""
    monkeypatch.delenv("LABELFACTORY_HEARTBEAT_SECONDS", raising=False)
    assert beat_seconds() == EVERY_SECONDS
    monkeypatch.setenv("LABELFACTORY_HEARTBEAT_SECONDS", "2.5")
    assert beat_seconds() == 2.5
