"""Submit a run of the line to a pool's workers, after checking that it can start."""

from dataclasses import dataclass
from typing import Any

from flows.server.api import Api
from flows.server.run_name import run_name
from flows.server.services import online_workers
from labelfactory.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Submitted:
    """A submitted run."""

    run_id: str
    name: str
    page: str


def check_pool(api: Api, pool: str) -> None:
    """Check that a pool exists.

    Raises:
        UserError: it does not.
    """
    pools = [entry["name"] for entry in api.post("/work_pools/filter", {})]
    if pool not in pools:
        raise UserError(
            f"there is no work pool {pool!r}{did_you_mean(pool, pools)}",
            f"Name another pool, or type `prefect work-pool create {pool} --type process`.",
        )


def submit(api: Api, pool: str, parameters: dict[str, Any], *, flow: str = "label-factory") -> Submitted:
    """Submit one run.

    Args:
        api: the server.
        pool: the pool; also the name of the flow's deployment on it.
        parameters: of the flow.
        flow: the flow's name.

    Raises:
        UserError: no such pool, no worker on it, or the flow is not deployed there.
    """
    check_pool(api, pool)
    if not online_workers(api, pool):
        raise UserError(
            f"no worker of the pool {pool!r} is online",
            f"Type `labelfactory up --pool {pool}` on a machine of that pool.",
        )
    deployment = api.find(f"/deployments/name/{flow}/{pool}")
    if deployment is None:
        raise UserError(f"{flow} is not deployed to the pool {pool!r}", f"Type `labelfactory deploy --pool {pool}`.")
    run = api.post(
        f"/deployments/{deployment['id']}/create_flow_run",
        {
            "name": run_name(flow, parameters),
            "parameters": parameters,
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        },
    )
    return Submitted(run["id"], run["name"], f"{api.page}/runs/flow-run/{run['id']}")
