"""The line as a Prefect flow: one task a stage, in dvc.yaml's order. DVC decides what is stale, Prefect shows it and tries again.

A task's state says who can help: `User error` is never tried again, `Stage crashed` is, after a pause. A run that was
interrupted or killed is started again with the same command and finds every finished shard.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from prefect import Task, flow, get_run_logger, task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from flows.checks import check_run
from flows.heartbeat import heartbeat
from flows.hooks import announce
from flows.line_process import LineProcess, LineProcessError, StageError
from flows.pace import retry_seconds
from flows.summary import REPORT, as_markdown, read_summary
from labelfactory.errors import UserError

Runner = Literal["local", "dask"]
USER_ERROR, CRASHED, UP_TO_DATE = "User error", "Stage crashed", "Up to date"
"""Names of states, as they stand on Prefect's page."""
PROGRESS = re.compile(r"^(?P<title>[^:]+): (?P<done>\d+)/(?P<total>\d+) (?P<rest>\w+, .*)$")
"""A line of `labelfactory.progress`: `extract_cams: 120/437 images, 3.1/s, 39 s, about 102 s left`."""


def run_name() -> str:
    """What a person reads in the list of runs: `whole line, 20 Nov 14:05`, `refine_crf without retraining, …`."""
    parameters = this_run.parameters
    what = ", ".join(parameters.get("targets") or ()) or "whole line"
    how = "" if parameters.get("retrain", True) else " without retraining"
    return f"{what}{how}, {started_at()}"


def started_at() -> str:
    """Now, as it stands in the name of a run."""
    return f"{datetime.now().astimezone():%d %b %H:%M}"


@flow(
    name="label-factory",
    flow_run_name=run_name,
    on_completion=[announce],
    on_failure=[announce],
    on_crashed=[announce],
    on_cancellation=[announce],
)
def label_factory(
    targets: list[str] | None = None, retrain: bool = True, force: bool = False, runner: Runner = "local"
) -> State[Any]:
    """Bring the line up to date.

    Args:
        targets: names of stages; none means the whole line.
        retrain: whether the stages that learn may run; if not, the models stay as they are.
        force: run even what is up to date.
        runner: where images are worked on: `local`, this machine; `dask`, a cluster (`flows.fan_out`).
    """
    with heartbeat():
        try:
            check_run(targets or ())
            return run_line(targets or (), retrain=retrain, force=force, runner=runner)
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))


def run_line(targets: Sequence[str], *, retrain: bool, force: bool = False, runner: Runner = "local") -> State[Any]:
    """One task for each stage that is needed, then the artifacts. Returns the state of the whole run."""
    ran = []
    with LineProcess() as line:
        try:
            order = line.order(targets, retrain=retrain)
        except StageError as error:
            return Failed(name=USER_ERROR, message=str(error))
        for stage in order:
            if runner == "dask":
                _spread(stage)
            state = stage_task(stage)(line, stage, force, return_state=True)
            if not state.is_completed():
                _show()
                return Failed(name=state.name, message=f"{stage}: {state.message}")
            if state.name != UP_TO_DATE:
                ran.append(stage)
    _show()
    if not ran:
        return Completed(name=UP_TO_DATE, message="Everything is up to date.")
    return Completed(message=f"{len(ran)} of {len(order)} stages ran: {', '.join(ran)}.")


def _spread(stage: str) -> None:
    """Have the pending shards of a per-image stage worked on by the cluster; the stage itself then has nothing to do.

    Whatever shard failed there stays pending: the stage tries it here, and says what is wrong with it.
    """
    from flows.fan_out import fan_out, is_per_image, pending_shards  # only who fans out needs Dask

    if not is_per_image(stage):
        return
    shards = pending_shards(stage)
    if shards:
        state = fan_out(stage, shards)
        get_run_logger().info("%s on the cluster: %s", stage, state.message)


def stage_task(stage: str) -> Task[[LineProcess, str, bool], State[Any]]:
    """The task of a stage; it has the stage's name, and so have its runs."""
    pauses = retry_seconds()
    return bring_up_to_date.with_options(
        name=stage, task_run_name=stage, retries=len(pauses), retry_delay_seconds=pauses
    )


def worth_another_try(task: Task[Any, Any], run: TaskRun, state: State[Any]) -> bool:
    """Not where a person has to mend something first."""
    return state.name != USER_ERROR


@task(cache_policy=NO_CACHE, persist_result=False, retry_condition_fn=worth_another_try)
def bring_up_to_date(line: LineProcess, stage: str, force: bool) -> State[Any]:
    """Let DVC bring one stage up to date; log what it says, show how far it is."""
    logger = get_run_logger()
    with _progress_artifact(stage) as show:

        def hear(text: str) -> None:
            if text.strip():
                logger.info("%s", text)
            show(text)

        try:
            ran = line.bring_up_to_date(stage, force=force, hear=hear)
        except StageError as error:
            return Failed(name=USER_ERROR if error.users else CRASHED, message=str(error))
        except LineProcessError as error:
            return Failed(name=CRASHED, message=str(error))
    if not ran:
        return Completed(name=UP_TO_DATE, message="DVC: nothing changed")
    made = {summary.name: summary.made for summary in read_summary().stages}
    return Completed(message=made.get(stage, ""))


@contextmanager
def _progress_artifact(stage: str) -> Iterator[Any]:
    """A progress artifact for a stage that reports progress; made at its first line of it."""
    artifact: list[UUID] = []

    def show(text: str) -> None:
        found = PROGRESS.match(text)
        if found is None or found["total"] == "0":
            return
        percent = 100 * int(found["done"]) / int(found["total"])
        if artifact:
            update_progress_artifact(artifact[0], percent, description=text)
        else:
            key = f"progress-{stage.replace('_', '-')}"
            artifact.append(cast(UUID, create_progress_artifact(percent, key=key, description=text)))

    yield show


def _show() -> None:
    """The line's table and the report's address, as artifacts of this run."""
    create_markdown_artifact(as_markdown(read_summary()), key="line", description="What each stage made, and its mIoU")
    if REPORT.exists():
        create_link_artifact(
            REPORT.resolve().as_uri(), "The report", key="report", description="From photograph to mask"
        )
