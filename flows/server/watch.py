"""Looks for runs whose process is gone: marks them as crashed and has them taken up again by any worker of their pool.

A run beats (`flows.run.heartbeat`); the watcher compares each beat with the one it saw before, by its own clock, so clocks of
several machines need not agree. Time in which the server did not answer does not count. A run whose process is starting
cannot beat yet, and gets more time. A run that has crashed for the third time stays crashed: what ends its worker each time
would end the next one too.
"""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flows.server.api import Api, ApiError, ServerDownError, find_api
from flows.server.intervals import LABEL, SILENT_BEATS, START_BEATS, beat_seconds
from flows.server.webhook import post, webhook_address
from labelfactory.console import say

FLOWS = ("label-factory", "label-factory-stage", "label-new-images", "sweep")
MOST_ATTEMPTS = 3
"""A run is planned at most so often, whether or not its process comes to a first beat."""


class Sign(NamedTuple):
    """What changes while a run lives: its state and its newest beat."""

    state: str
    beat: str
    starting: bool = False
    """A worker has taken it, and its process is not there yet to beat."""


@dataclass
class Watcher:
    """Remembers when each run was last seen to change.

    Args:
        limit: seconds of silence after which a run is dead.
        start_limit: the same for a run that is starting.
    """

    limit: float
    start_limit: float
    seen: dict[str, tuple[Sign, float]] = field(default_factory=dict)

    def silent(self, signs: Iterable[tuple[str, Sign]], now: float) -> list[str]:
        """Note the signs of all runs under way; name those that have not changed for longer than they may.

        Args:
            signs: run id and sign of each run.
            now: seconds of a clock that never goes back.
        """
        current = dict(signs)
        self.seen = {run: self.seen[run] for run in current if run in self.seen}
        for run, sign in current.items():
            if run not in self.seen or self.seen[run][0] != sign:
                self.seen[run] = (sign, now)
        return [run for run, (sign, since) in self.seen.items() if now - since >= self.patience(sign)]

    def patience(self, sign: Sign) -> float:
        """Seconds for which a run may be silent."""
        return self.start_limit if sign.starting else self.limit

    def forget(self) -> None:
        """The server did not answer: nobody could be heard, so nobody was silent."""
        self.seen.clear()


def look(api: Api, watcher: Watcher, now: float) -> list[str]:
    """One round. Returns the ids of the runs that were marked as crashed."""
    runs = {run["id"]: run for run in running(api)}
    dead = watcher.silent(((run_id, sign_of(run)) for run_id, run in runs.items()), now)
    for run_id in dead:
        revive(api, runs[run_id], watcher.patience(sign_of(runs[run_id])))
    return dead


def running(api: Api) -> list[dict[str, Any]]:
    """Runs of our flows, started from a deployment, that some worker should be working on."""
    wanted = {
        "flows": {"name": {"any_": list(FLOWS)}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
    }
    found: list[dict[str, Any]] = api.post("/flow_runs/filter", wanted)
    return [run for run in found if run["deployment_id"]]


def sign_of(run: dict[str, Any]) -> Sign:
    """Of a run as the server tells it."""
    state = run["state"]
    return Sign(state["id"], str((run.get("labels") or {}).get(LABEL, "")), state["type"] == "PENDING")


def revive(api: Api, run: dict[str, Any], limit: float) -> None:
    """Mark a dead run as crashed (as cancelled, where a person wanted that), and plan it anew if it may try again."""
    name = run["name"]
    if run["state"]["type"] == "CANCELLING":
        set_state(api, run, "CANCELLED", "Cancelled", "its process was gone already")
        return
    message = f"no sign of life for {limit:.0f} s: its worker or its process is gone"
    set_state(api, run, "CRASHED", "Crashed", message)
    attempts = max(run["run_count"], crashes(api, run))
    again = attempts < MOST_ATTEMPTS
    if again:
        set_state(api, run, "SCHEDULED", "AwaitingRetry", f"attempt {attempts} crashed: {message}")
    what = "another worker may take it up" if again else f"it crashed {attempts} times and stays so"
    say(f"{name}: {message}; {what}")
    try:
        address = webhook_address(api)
        if address:
            post(address, {"text": f"{name}: Crashed\n{message}; {what}", "run_id": run["id"], "state": "Crashed"})
    except Exception as error:  # its text could hold the address, and with it a token
        say(f"the webhook did not take the message: {type(error).__name__}")


def crashes(api: Api, run: dict[str, Any]) -> int:
    """How often it has crashed, also before it began: a process that never comes to its first beat counts for no attempt."""
    return sum(state["type"] == "CRASHED" for state in api.get(f"/flow_run_states/?flow_run_id={run['id']}"))


def set_state(api: Api, run: dict[str, Any], kind: str, name: str, message: str) -> None:
    """Give a run a state, whatever the rules for living runs say."""
    api.post(
        f"/flow_runs/{run['id']}/set_state",
        {"state": {"type": kind, "name": name, "message": message}, "force": True},
    )


def watch(api: Api, *, rounds: Callable[[], bool] = lambda: True) -> None:
    """Look again and again, as often as runs beat."""
    beat = beat_seconds()
    watcher = Watcher(limit=SILENT_BEATS * beat, start_limit=START_BEATS * beat)
    say(
        f"watching {api.url}: a run that is silent for {watcher.limit:.0f} s is taken up again,"
        f" {watcher.start_limit:.0f} s while it starts"
    )
    while rounds():
        try:
            look(api, watcher, time.monotonic())
        except (ServerDownError, ApiError) as error:
            say(f"{error}")
            watcher.forget()
        time.sleep(beat)


if __name__ == "__main__":
    sys.exit(watch(find_api()))
