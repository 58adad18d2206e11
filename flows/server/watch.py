"""Watch for runs whose process has died: mark them as crashed, and schedule them again for any worker of their pool.

The watcher compares each run's heartbeat (`flows.run.heartbeat`) with the previous one, by its own clock, so the clocks of
machines may differ. Time in which the server did not answer is not counted. A run whose process is starting has no heartbeat
yet, and gets more time. A run that has crashed three times stays crashed: it would crash its next worker too.
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

FLOWS = ("label-factory", "label-factory-stage", "label-new-images", "sweep", "tournament")
MOST_ATTEMPTS = 3
"""Attempts of a run, including those without a heartbeat."""


class Sign(NamedTuple):
    """The parts of a run that change while it lives: its state and its last heartbeat."""

    state: str
    beat: str
    starting: bool = False
    """A worker has accepted it, and its process is starting."""


@dataclass
class Watcher:
    """Remembers when each run last changed.

    Args:
        limit: seconds of silence after which a run counts as dead.
        start_limit: the same for a run that is starting.
    """

    limit: float
    start_limit: float
    last: dict[str, tuple[Sign, float]] = field(default_factory=dict)

    def silent(self, signs: Iterable[tuple[str, Sign]], now: float) -> list[str]:
        """Note the signs of all running runs; return the ids of those that have been silent for too long.

        Args:
            signs: run id and sign of each run.
            now: seconds of a monotonic clock.
        """
        current = dict(signs)
        self.last = {run: self.last[run] for run in current if run in self.last}
        for run, sign in current.items():
            if run not in self.last or self.last[run][0] != sign:
                self.last[run] = (sign, now)
        return [run for run, (sign, since) in self.last.items() if now - since >= self.patience(sign)]

    def patience(self, sign: Sign) -> float:
        """Seconds for which a run may be silent."""
        return self.start_limit if sign.starting else self.limit

    def forget(self) -> None:
        """Start anew after a time in which the server did not answer."""
        self.last.clear()


def check_runs(api: Api, watcher: Watcher, now: float) -> list[str]:
    """One round. Returns the ids of the runs that were marked as crashed."""
    runs = {run["id"]: run for run in running(api)}
    dead = watcher.silent(((run_id, sign_of(run)) for run_id, run in runs.items()), now)
    for run_id in dead:
        revive(api, runs[run_id], watcher.patience(sign_of(runs[run_id])))
    return dead


def running(api: Api) -> list[dict[str, Any]]:
    """Runs of our flows that were started from a deployment and are not finished."""
    query = {
        "flows": {"name": {"any_": list(FLOWS)}},
        "flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}},
    }
    runs: list[dict[str, Any]] = api.post("/flow_runs/filter", query)
    return [run for run in runs if run["deployment_id"]]


def sign_of(run: dict[str, Any]) -> Sign:
    """The sign of a run as the server returns it."""
    state = run["state"]
    return Sign(state["id"], str((run.get("labels") or {}).get(LABEL, "")), state["type"] == "PENDING")


def revive(api: Api, run: dict[str, Any], limit: float) -> None:
    """Mark a dead run as crashed (or cancelled, if that was requested), and schedule it again unless it is out of attempts."""
    name = run["name"]
    if run["state"]["type"] == "CANCELLING":
        set_state(api, run, "CANCELLED", "Cancelled", "its process had ended already")
        return
    message = f"no heartbeat for {limit:.0f} s: its worker or its process has ended"
    set_state(api, run, "CRASHED", "Crashed", message)
    attempts = max(run["run_count"], crashes(api, run))
    again = attempts < MOST_ATTEMPTS
    if again:
        set_state(api, run, "SCHEDULED", "AwaitingRetry", f"attempt {attempts} crashed: {message}")
    what = "another worker may run it" if again else f"it crashed {attempts} times and stays so"
    say(f"{name}: {message}; {what}")
    try:
        address = webhook_address(api)
        if address:
            post(address, {"text": f"{name}: Crashed\n{message}; {what}", "run_id": run["id"], "state": "Crashed"})
    except Exception as error:  # its text may contain the address, and with it a token
        say(f"the webhook did not accept the message: {type(error).__name__}")


def crashes(api: Api, run: dict[str, Any]) -> int:
    """Number of crashes, including those before the first heartbeat, which the server does not count as attempts."""
    return sum(state["type"] == "CRASHED" for state in api.get(f"/flow_run_states/?flow_run_id={run['id']}"))


def set_state(api: Api, run: dict[str, Any], kind: str, name: str, message: str) -> None:
    """Force a run into a state."""
    api.post(
        f"/flow_runs/{run['id']}/set_state",
        {"state": {"type": kind, "name": name, "message": message}, "force": True},
    )


def watch(api: Api, *, rounds: Callable[[], bool] = lambda: True) -> None:
    """Check the runs once per heartbeat interval."""
    beat = beat_seconds()
    watcher = Watcher(limit=SILENT_BEATS * beat, start_limit=START_BEATS * beat)
    say(
        f"watching {api.url}: a run that is silent for {watcher.limit:.0f} s is scheduled again,"
        f" {watcher.start_limit:.0f} s while it starts"
    )
    while rounds():
        try:
            check_runs(api, watcher, time.monotonic())
        except (ServerDownError, ApiError) as error:
            say(f"{error}")
            watcher.forget()
        time.sleep(beat)


if __name__ == "__main__":
    sys.exit(watch(find_api()))
