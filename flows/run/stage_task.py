"""One stage of the line as a Prefect task: DVC's check, the engine's check, and only then a pool and a device.

The state `User error` is never retried; `Stage crashed` is, after a pause.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast
from uuid import UUID

from prefect import Task, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed, Failed

from flows.line.dvc_process import LineProcess, LineProcessError, StageError
from flows.run.gpu_slots import devices_held
from flows.run.pending_work import has_work
from flows.run.pool_of_stage import StagePlacement, wanted_pool
from flows.server.intervals import retry_seconds
from labelfactory.errors import UserError
from labelfactory.settings.reports import read_report
from labelfactory.stage.output_state import with_present_scores
from reporting.phrases import what_it_made

USER_ERROR, CRASHED, UP_TO_DATE, QUALITY_FELL = "User error", "Stage crashed", "Up to date", "Quality fell"
"""Names of states on Prefect's page."""
PROGRESS = re.compile(r"^(?P<title>[^:]+): (?P<done>\d+)/(?P<total>\d+) (?P<rest>\w+, .*)$")
"""A line of `labelfactory.progress`: `extract_cams: 120/437 images, 3.1/s, 39 s, about 102 s left`."""


def stage_task(stage: str, *, again: bool = True) -> Task[[LineProcess, StagePlacement, str, bool], State[Any]]:
    """The task of a stage, named after it like its runs. `again`: retry a crash."""
    pauses = retry_seconds() if again else []
    return bring_up_to_date.with_options(
        name=stage, task_run_name=stage, retries=len(pauses), retry_delay_seconds=pauses or None
    )


def worth_another_try(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether to retry: not after an error that the user has to mend."""
    return state.name != USER_ERROR


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=worth_another_try)
def bring_up_to_date(line: LineProcess, placement: StagePlacement, stage: str, force: bool) -> State[Any]:
    """Bring one stage up to date through DVC; log its output, show its progress."""
    logger = get_run_logger()
    with _progress_artifact(stage) as show:

        def hear(text: str) -> None:
            if text.strip():
                logger.info("%s", text)
            show(text)

        try:
            return _run(line, placement, stage, force, hear)
        except StageError as error:
            return Failed(name=USER_ERROR if error.users else CRASHED, message=str(error))
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))
        except LineProcessError as error:
            return Failed(name=CRASHED, message=str(error))


def _run(
    line: LineProcess, placement: StagePlacement, stage: str, force: bool, hear: Callable[[str], None]
) -> State[Any]:
    with ExitStack() as held:
        if placement.api is not None and wanted_pool(stage):
            if not force and not line.stale([stage]):
                return Completed(name=UP_TO_DATE, message="DVC: nothing changed")
            if force or has_work(stage):
                pool = placement.elsewhere(stage)
                if pool:
                    return state_of(placement.run_stage(pool, stage, force=force, hear=hear))
                held.enter_context(devices_held(placement.api, hear))
        if not line.bring_up_to_date(stage, force=force, hear=hear):
            return Completed(name=UP_TO_DATE, message="DVC: nothing changed")
    report = read_report(stage)
    return Completed(message=what_it_made(with_present_scores(report)) if report else "")


def state_of(run: dict[str, Any]) -> State[Any]:
    """The state of a run on another pool, as a state of this task."""
    state = run["state"]
    message = state["message"] or ""
    if state["type"] == "COMPLETED":
        return Completed(name=state["name"], message=message)
    if state["type"] == "CANCELLED":
        return Failed(name=USER_ERROR, message=f"{run['name']} was cancelled")
    return Failed(name=USER_ERROR if state["name"] == USER_ERROR else CRASHED, message=message)


@contextmanager
def _progress_artifact(stage: str) -> Iterator[Any]:
    """A progress artifact for a stage, created with its first line of progress."""
    artifact: list[UUID] = []

    def show(text: str) -> None:
        line = PROGRESS.match(text)
        if line is None or line["total"] == "0":
            return
        percent = 100 * int(line["done"]) / int(line["total"])
        if artifact:
            update_progress_artifact(artifact[0], percent, description=text)
        else:
            key = f"progress-{stage.replace('_', '-')}"
            artifact.append(cast(UUID, create_progress_artifact(percent, key=key, description=text)))

    yield show
