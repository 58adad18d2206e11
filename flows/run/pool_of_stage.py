"""The pool on which a stage of a flow runs: the current one, or its own, as a separate flow run.

A stage names its pool in dvc.yaml (`meta: {pool: gpu}`) and runs there if that pool has ever had a worker, else here. A pool
whose workers are all offline is an error before the run.
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
from labelfactory.settings.wiring import stage_wiring

FLOW = "label-factory-stage"
"""The flow that runs one stage."""
POLL_SECONDS = 2.0
GRACE_SECONDS = 10.0
"""The watcher may schedule a crashed run again within this time; after it the crash is final."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


def wanted_pool(stage: str) -> str:
    """The pool that dvc.yaml names for a stage; empty if it names none."""
    return stage_wiring(stage).meta.pool


@dataclass
class StagePlacement:
    """Decides where the stages of a flow run are executed, and runs them on other pools.

    Args:
        api: the server; None outside of a worker, where everything runs here.
        run: id of the flow run.
        pool: the pool on which it runs.
        stays: run every stage here, whatever pool it names.
    """

    api: Api | None = None
    run: str = ""
    pool: str = ""
    stays: bool = False
    _used: dict[str, bool] = field(default_factory=dict)

    def elsewhere(self, stage: str) -> str:
        """The other pool on which a stage runs; empty if it runs here."""
        pool = wanted_pool(stage)
        if self.api is None or self.stays or pool in ("", self.pool):
            return ""
        if pool not in self._used:
            self._used[pool] = bool(known_workers(self.api, pool))
        return pool if self._used[pool] else ""

    def check(self, stages: Sequence[str]) -> None:
        """Check that each of these stages can run on its pool.

        Raises:
            UserError: no worker of a pool is online, or the flow is not deployed to it.
        """
        for pool in sorted({self.elsewhere(stage) for stage in stages} - {""}):
            if self.api is not None:
                _deployment(self.api, pool)
                if not online_workers(self.api, pool):
                    first = next(stage for stage in stages if self.elsewhere(stage) == pool)
                    raise UserError(
                        f"{first} needs the pool {pool!r}, which has no worker online",
                        f"Type `labelfactory up --pool {pool}` on a machine of that pool, or add --here.",
                    )

    def run_stage(self, pool: str, stage: str, *, force: bool, hear: Callable[[str], None]) -> dict[str, Any]:
        """Run one stage on another pool and wait for its end; an interruption here cancels it.

        Returns:
            The run as the server returns it.

        Raises:
            UserError: no worker starts it.
        """
        if self.api is None:
            raise RuntimeError("there is no server to ask")
        api, deployment = self.api, _deployment(self.api, pool)
        request = {
            "name": f"{stage} for {self.pool or 'a run'}",
            "parameters": {"stage": stage, "force": force},
            "tags": [_mark(self.run)],
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        }
        child = api.post(f"/deployments/{deployment}/create_flow_run", request)
        hear(f"runs on the pool {pool}: {api.page}/runs/flow-run/{child['id']}")
        with _cancelled_with_this_run(api, child["id"]):
            return _wait(api, child["id"], pool)

    def wait_for_own(self, hear: Callable[[str], None]) -> None:
        """Wait for stages that an earlier attempt of this run started on other pools."""
        if self.api is None or not self.run:
            return
        query = {"flow_runs": {"tags": {"all_": [_mark(self.run)]}, "state": {"type": {"not_any_": list(ENDED)}}}}
        for child in self.api.post("/flow_runs/filter", query):
            hear(f"still running on another pool: {child['name']}")
            with _cancelled_with_this_run(self.api, child["id"]):
                _wait(self.api, child["id"], child["work_pool_name"] or "")


def current_placement(*, stays: bool) -> StagePlacement:
    """The placement of the current flow run; outside of a worker everything runs here."""
    if this_run.id is None or URL_VARIABLE not in os.environ:
        return StagePlacement()
    api = find_api()
    return StagePlacement(api, this_run.id, api.get(f"/flow_runs/{this_run.id}")["work_pool_name"] or "", stays)


def _mark(run: str) -> str:
    """The tag of runs that a run started on other pools."""
    return f"of {run}"


def _deployment(api: Api, pool: str) -> str:
    deployment = api.find(f"/deployments/name/{FLOW}/{pool}")
    if deployment is None:
        raise UserError(f"{FLOW} is not deployed to the pool {pool!r}", "Type `labelfactory deploy`.")
    return str(deployment["id"])


@contextmanager
def _cancelled_with_this_run(api: Api, run: str) -> Iterator[None]:
    """Cancel a run if the body is interrupted."""
    try:
        yield
    except BaseException:
        state = {"type": "CANCELLING", "name": "Cancelling", "message": "the run that started it has ended"}
        try:
            if api.get(f"/flow_runs/{run}")["state"]["type"] not in ENDED:
                api.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})
        except (ApiError, ServerDownError) as error:
            say(f"the run {run} could not be cancelled: {error}")
        raise


def _wait(api: Api, run: str, pool: str) -> dict[str, Any]:
    """Wait for the final end of a run and return it, also through a time without a server.

    Raises:
        UserError: no worker of the pool has been online for as long as a run may be silent.
    """
    limit = SILENT_BEATS * beat_seconds()
    attended = time.monotonic()
    crashed_since: float | None = None
    while True:
        now = time.monotonic()
        try:
            current: dict[str, Any] = api.get(f"/flow_runs/{run}")
            kind = current["state"]["type"]
            waits = kind == "SCHEDULED" and not online_workers(api, pool)
        except (ServerDownError, ApiError) as error:
            if isinstance(error, ApiError) and error.status == 404:
                raise
            attended, crashed_since = now, None
            time.sleep(POLL_SECONDS)
            continue
        if kind in ENDED and kind != "CRASHED":
            return current
        crashed_since = (crashed_since or now) if kind == "CRASHED" else None
        if crashed_since is not None and now - crashed_since > GRACE_SECONDS:
            return current
        attended = attended if waits else now
        if now - attended > limit:
            raise UserError(
                f"no worker of the pool {pool!r} is online to run {current['name']!r}",
                f"Type `labelfactory up --pool {pool}` on a machine of that pool.",
            )
        time.sleep(POLL_SECONDS)
