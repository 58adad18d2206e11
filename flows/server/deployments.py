"""Register the deployments of prefect.yaml with the server, after all checks."""

import os
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from pydantic import ValidationError

from flows.server.api import Api
from flows.server.services import known_workers
from flows.server.submit import check_pool
from labelfactory.errors import ParamsError
from labelfactory.settings.params import read_yaml

WIRING_FILE = Path("prefect.yaml")
SCHEDULED = "nightly"
"""The deployment that has the schedule."""


def deploy(api: Api, *, cron: str = "", pool: str = "", source: str = "") -> tuple[list[str], list[str]]:
    """Register the deployments of the pools that have, or had, a worker, to run in this folder; of all where none has.

    A deployment of a pool without workers would be shown as not ready.

    Args:
        api: the server.
        cron: schedule of `nightly`; default: that of prefect.yaml, which is off.
        pool: the pool of all deployments; default: that of each.
        source: of the new images for `nightly`; default: that of the import.

    Returns:
        Their names, `flow/deployment`; and the pools whose deployments were left out.

    Raises:
        UserError: the cron expression is wrong, or there is no such pool.
    """
    schedule = _schedule(cron) if cron else None
    planned = [dict(entry) for entry in read_yaml(WIRING_FILE)["deployments"]]
    if pool:
        planned = _moved(planned, pool)
    pools = sorted({entry["work_pool"]["name"] for entry in planned})
    for name in pools:
        check_pool(api, name)
    manned = [name for name in pools if known_workers(api, name)] or pools
    planned = [entry for entry in planned if entry["work_pool"]["name"] in manned]
    done = []
    settings = {PREFECT_API_URL: api.url} | ({PREFECT_API_AUTH_STRING: api.login} if api.login else {})
    with temporary_settings(settings), get_client(sync_client=True) as client:
        for entry in planned:
            flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
            nightly = entry["name"] == SCHEDULED
            schedules = [schedule] if nightly and schedule else _written(entry)
            client.create_deployment(
                flow_id=client.create_flow(flow),
                name=entry["name"],
                description=entry.get("description"),
                entrypoint=entry["entrypoint"],
                work_pool_name=entry["work_pool"]["name"],
                parameters={"source": str(source)} if nightly and source else {},
                schedules=schedules,
                parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                enforce_parameter_schema=True,
                pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": os.fspath(Path.cwd())}}],
            )
            done.append(f"{flow.name}/{entry['name']}")
    return done, [name for name in pools if name not in manned]


def _moved(planned: list[dict[str, Any]], pool: str) -> list[dict[str, Any]]:
    """The deployments moved to one pool: one per flow, named after the pool, and the scheduled one."""
    moved: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in planned:
        name = pool if entry["name"] == entry["work_pool"]["name"] else entry["name"]
        moved.setdefault((entry["entrypoint"], name), {**entry, "name": name, "work_pool": {"name": pool}})
    return list(moved.values())


def _written(entry: dict[str, Any]) -> list[DeploymentScheduleCreate]:
    """The schedules that prefect.yaml gives a deployment."""
    return [_schedule(each["cron"], active=each.get("active", True)) for each in entry.get("schedules", [])]


def _schedule(cron: str, *, active: bool = True) -> DeploymentScheduleCreate:
    try:
        return DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=_zone()), active=active)
    except ValidationError:
        raise ParamsError(
            f"{cron!r} is not a cron expression",
            'Write five fields: minute, hour, day, month, weekday; "0 3 * * *" is every night at three.',
        ) from None


def _zone() -> str | None:
    """Name of this machine's time zone, so that cron times are local times."""
    zone = os.environ.get("TZ") or _linked_zone()
    return zone if zone and Path("/usr/share/zoneinfo", zone).exists() else None


def _linked_zone() -> str:
    target = os.path.realpath("/etc/localtime")
    return target.partition("/zoneinfo/")[2]
