"""One stage as a separate flow, started by a run on another pool. Its inputs are up to date already."""

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.line.dvc_process import LineProcess
from flows.run.heartbeat import heartbeat
from flows.run.pool_of_stage import FLOW, current_placement
from flows.run.stage_task import USER_ERROR, stage_task
from flows.server.credentials import mask_logs
from labelfactory.errors import UserError


@flow(name=FLOW)
def label_factory_stage(stage: str, force: bool = False) -> State[Any]:
    """Bring one stage up to date on this worker.

    Args:
        stage: its name.
        force: run it even if it is up to date.
    """
    mask_logs()
    with heartbeat(), LineProcess() as line:
        try:
            state = stage_task(stage, again=False)(line, current_placement(stays=True), stage, force, return_state=True)
        except UserError as error:
            return Failed(name=USER_ERROR, message=str(error))
    if not state.is_completed():
        return Failed(name=state.name, message=state.message)
    return Completed(name=state.name, message=state.message)
