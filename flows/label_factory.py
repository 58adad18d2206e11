"""The line as a Prefect flow: one task per stage, in dvc.yaml's order. DVC decides what is stale, Prefect shows and retries.

An interrupted or killed run resumes with the same command and keeps every finished shard. Stages of another pool run there
(`flows.run.pool_of_stage`).
"""

from collections.abc import Sequence
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run as this_run
from prefect.states import Completed, Failed

from flows.line.dvc_process import LineProcess, LineProcessError, StageError
from flows.line.summary import REPORT, as_markdown, quality_falls, read_summary
from flows.line.unfinished import finishing_withdrawals
from flows.run.checks import check_run
from flows.run.git_tree import Tree, check_tree
from flows.run.heartbeat import heartbeat
from flows.run.notify import announce
from flows.run.pool_of_stage import current_placement
from flows.run.run_record import remember, tell_mlflow
from flows.run.stage_task import CRASHED, QUALITY_FELL, UP_TO_DATE, USER_ERROR, stage_task
from flows.server.credentials import mask_logs
from flows.server.run_name import run_name
from labelfactory.errors import UserError
from labelfactory.masking import masked

Runner = Literal["local", "dask", "ray"]


def name_of_run() -> str:
    """Name in the list of runs: `whole line, 20 Nov 14:05`, `refine_crf without retraining, …`."""
    return run_name("label-factory", this_run.parameters, this_run.name or "")


@flow(
    name="label-factory",
    flow_run_name=name_of_run,
    on_completion=[announce, tell_mlflow],
    on_failure=[announce, tell_mlflow],
    on_crashed=[announce],
    on_cancellation=[announce],
)
def label_factory(
    targets: list[str] | None = None,
    retrain: bool = True,
    force: bool = False,
    runner: Runner = "local",
    strict: bool = False,
    stay: bool = False,
) -> State[Any]:
    """Bring the line up to date.

    Args:
        targets: names of stages; none means the whole line.
        retrain: run the stages that learn; if not, the models stay unchanged.
        force: also run what is up to date.
        runner: `local` for this machine; `dask` or `ray` for a cluster (`flows.run.fan_out`).
        strict: refuse a git tree that is not clean, instead of recording it; fail if the quality of masks fell.
        stay: run every stage on this worker, whatever pool it names.
    """
    mask_logs()
    with heartbeat():
        try:
            tree = check_tree(strict=strict)
            with finishing_withdrawals("the flow label-factory"):
                check_run(targets or (), retrain=retrain)
                return run_line(
                    targets or (), retrain=retrain, force=force, runner=runner, stay=stay, tree=tree, strict=strict
                )
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))


def run_line(
    targets: Sequence[str],
    *,
    retrain: bool,
    tree: Tree,
    force: bool = False,
    runner: Runner = "local",
    stay: bool = False,
    strict: bool = False,
) -> State[Any]:
    """One task for each stage that is needed, then record and artifacts. Returns the state of the whole run.

    With `strict` it has failed if the quality of masks fell, though all is done.

    Raises:
        UserError: a check before the run fails.
    """
    ran: list[str] = []
    placement = current_placement(stays=stay)
    placement.wait_for_own(get_run_logger().info)
    with LineProcess() as line:
        try:
            order = line.order(targets, retrain=retrain)
            stale = order if force else line.stale(order)
        except StageError as error:
            return Failed(name=USER_ERROR if error.users else CRASHED, message=str(error))
        except LineProcessError as error:
            return Failed(name=CRASHED, message=str(error))
        if stale:
            placement.check(order[order.index(stale[0]) :])
            remember(tree)  # outputs made since the last record, which the run may overwrite
        for stage in order:
            if runner != "local":
                _spread(stage, runner)
            state = stage_task(stage)(line, placement, stage, force, return_state=True)
            if not state.is_completed():
                _show(tree)
                remember(tree)  # finished stages
                return Failed(name=state.name, message=f"{stage}: {state.message}")
            if state.name != UP_TO_DATE:
                ran.append(stage)
    _show(tree)
    if not ran:
        return Completed(name=UP_TO_DATE, message="Everything is up to date.")
    remember(tree)
    return final_state(ran, of=len(order), strict=strict)


def final_state(ran: Sequence[str], *, of: int, strict: bool) -> State[Any]:
    """The state of a run that has finished: a failure where the quality of masks fell and `strict` asks for one.

    Args:
        ran: names of the stages that ran.
        of: number of stages that were needed.
        strict: as for `run_line`.
    """
    fell = quality_falls(ran)
    message = " ".join([f"{len(ran)} of {of} stages ran: {', '.join(ran)}.", *fell])
    return Failed(name=QUALITY_FELL, message=message) if fell and strict else Completed(message=message)


def _spread(stage: str, runner: Literal["dask", "ray"]) -> None:
    """Compute the pending shards of a per-image stage on the cluster; the stage itself then has nothing to do.

    Failed shards stay pending: the stage tries them here and reports the error.
    """
    from flows.run.fan_out import fan_out, may_spread, pending_shards  # loaded only for a cluster

    if not may_spread(stage):
        return
    shards = pending_shards(stage)
    if shards:
        state = fan_out(stage, shards, runner)
        get_run_logger().info("%s on the cluster: %s", stage, state.message)


def _show(tree: Tree) -> None:
    """Create artifacts of this run: the line's table and the report's address."""
    text = f"{as_markdown(read_summary())}\n\nGit: {tree.commit[:10]}, {tree}"
    create_markdown_artifact(masked(text), key="line", description="What each stage made, and its mIoU")
    if REPORT.exists():
        create_link_artifact(
            REPORT.resolve().as_uri(), "The report", key="report", description="From photograph to mask"
        )
