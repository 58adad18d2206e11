"""Where a stage of a flow runs: here, or on a worker of the pool that it wants, as a flow run of its own.

A stage names its pool in dvc.yaml (`meta: {pool: gpu}`). It goes there where that pool has a worker; a pool that nobody ever
worked for is not waited for, and the stage runs here. A pool whose workers are all gone is an error, said at once.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefect.runtime import flow_run as this_run

from flows.server.api import URL_VARIABLE, Api, ApiError, ServerDownError, find_api
from flows.server.intervals import SILENT_BEATS, beat_seconds
from flows.server.services import known_workers, online_workers
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.settings.params import read_yaml
from labelfactory.settings.wiring import WIRING_FILE

FLOW = "label-factory-stage"
"""The flow that runs one stage."""
POLL_SECONDS = 2.0
GRACE_SECONDS = 10.0
"""A run that crashed may be planned anew by the watcher; so long its end is not believed."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def wanted_pool(stage: str) -> str:
    """The pool that dvc.yaml names for a stage; empty where any will do."""
    body = read_yaml(WIRING_FILE)["stages"][stage]
    return str((body.get("meta") or {}).get("pool", ""))


@dataclass
class StagePlacement:
    """A flow run's own placement, and the way to others.

    Args:
        api: the server; None outside of a worker, where everything runs here.
        run: id of the flow run.
        pool: the pool on which it runs.
        stays: whether its user wants every stage here, whatever pool it wants.
    """

    api: Api | None = None
    run: str = ""
    pool: str = ""
    stays: bool = False
    _used: dict[str, bool] = field(default_factory=dict)

    def elsewhere(self, stage: str) -> str:
        """The other pool on which a stage is to run; empty where it runs here."""
        pool = wanted_pool(stage)
        if self.api is None or self.stays or pool in ("", self.pool):
            return ""
        if pool not in self._used:
            self._used[pool] = bool(known_workers(self.api, pool))
        return pool if self._used[pool] else ""

    def check(self, stages: Sequence[str]) -> None:
        """Whether each of these stages can run where it belongs.

        Raises:
            UserError: a pool's workers are all gone, or it does not know the flow.
        """
        for pool in sorted({self.elsewhere(stage) for stage in stages} - {""}):
            if self.api is not None:
                _deployment(self.api, pool)
                if not online_workers(self.api, pool):
                    wanting = next(stage for stage in stages if self.elsewhere(stage) == pool)
                    raise UserError(
                        f"{wanting} wants the pool {pool!r}, and no worker of it is online",
                        f"Type `labelfactory up --pool {pool}` on the machine that is to work for it, or add --here.",
                    )

    def run_stage(self, pool: str, stage: str, *, force: bool, hear: Callable[[str], None]) -> dict[str, Any]:
        """Run one stage on another pool and wait for its end, which an interruption here brings about too.

        Returns:
            The run as the server sees it.

        Raises:
            UserError: nobody takes it up.
        """
        if self.api is None:
            raise RuntimeError("there is no server to ask")
        api, deployment = self.api, _deployment(self.api, pool)
        wish = {
            "name": f"{stage} for {self.pool or 'a run'}",
            "parameters": {"stage": stage, "force": force},
            "tags": [_mark(self.run)],
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        }
        child = api.post(f"/deployments/{deployment}/create_flow_run", wish)
        hear(f"runs on the pool {pool}: {api.page}/runs/flow-run/{child['id']}")
        with _ended_with_us(api, child["id"]):
            return _wait(api, child["id"], pool)

    def wait_for_own(self, hear: Callable[[str], None]) -> None:
        """Wait for stages that this run sent elsewhere before its worker died: two must not work on one stage."""
        if self.api is None or not self.run:
            return
        wanted = {"flow_runs": {"tags": {"all_": [_mark(self.run)]}, "state": {"type": {"not_any_": list(ENDED)}}}}
        for child in self.api.post("/flow_runs/filter", wanted):
            hear(f"still under way elsewhere: {child['name']}")
            with _ended_with_us(self.api, child["id"]):
                _wait(self.api, child["id"], child["work_pool_name"] or "")


def current_placement(*, stays: bool) -> StagePlacement:
    """The place of the flow run that calls, as its server knows it. Outside of a worker everything runs here."""
    if this_run.id is None or URL_VARIABLE not in os.environ:
        return StagePlacement()
    api = find_api()
    return StagePlacement(api, this_run.id, api.get(f"/flow_runs/{this_run.id}")["work_pool_name"] or "", stays)


def _mark(run: str) -> str:
    """The tag of what a run sent elsewhere."""
    return f"of {run}"


def _deployment(api: Api, pool: str) -> str:
    found = api.find(f"/deployments/name/{FLOW}/{pool}")
    if found is None:
        raise UserError(f"{FLOW} is not deployed to the pool {pool!r}", "Type `labelfactory deploy`.")
    return str(found["id"])


@contextmanager
def _ended_with_us(api: Api, run: str) -> Iterator[None]:
    """Whatever interrupts the body cancels that run."""
    try:
        yield
    except BaseException:
        state = {"type": "CANCELLING", "name": "Cancelling", "message": "the run that wanted it has ended"}
        try:
            if api.get(f"/flow_runs/{run}")["state"]["type"] not in ENDED:
                api.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        except (ApiError, ServerDownError) as error:
            say(f"the run {run} could not be cancelled: {error}")
        raise


def _wait(api: Api, run: str, pool: str) -> dict[str, Any]:
    """The run once it has ended for good. A server that does not answer for a while is waited for.

    Raises:
        UserError: no worker has been there to take it up for as long as a run may be silent.
    """
    limit = SILENT_BEATS * beat_seconds()
    attended = time.monotonic()
    crashed_since: float | None = None
    while True:
        now = time.monotonic()
        try:
            seen: dict[str, Any] = api.get(f"/flow_runs/{run}")
            kind = seen["state"]["type"]
            waits = kind == "SCHEDULED" and not online_workers(api, pool)
        except (ServerDownError, ApiError) as error:
            if isinstance(error, ApiError) and error.status == 404:
                raise
            attended, crashed_since = now, None
            time.sleep(POLL_SECONDS)
            continue
        if kind in ENDED and kind != "CRASHED":
            return seen
        crashed_since = (crashed_since or now) if kind == "CRASHED" else None
        if crashed_since is not None and now - crashed_since > GRACE_SECONDS:
            return seen
        attended = attended if waits else now
        if now - attended > limit:
            raise UserError(
                f"no worker of the pool {pool!r} is online to take up {seen['name']!r}",
                f"Type `labelfactory up --pool {pool}` on the machine that is to work for it.",
            )
        time.sleep(POLL_SECONDS)
