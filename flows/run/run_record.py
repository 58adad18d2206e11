"""Record a flow run in ledger and MLflow, like `labelfactory record`, with the name of the flow run."""

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run as this_run

from flows.run.git_tree import Tree
from labelfactory.errors import UserError
from lineage.deliver import deliver
from lineage.record import record


@task(name="record", task_run_name="record", cache_policy=NO_CACHE, persist_result=False)
def remember(tree: Tree) -> None:
    """Record what is on the disk. A problem is logged and does not end the run."""
    logger = get_run_logger()
    try:
        new = record(
            {"git_tree": str(tree), "prefect.flow_run_id": str(this_run.id), "prefect.flow_run": this_run.name}
        )
    except UserError as error:
        logger.warning("nothing was recorded: %s", error.problem)
        return
    logger.info("recorded: %d stages, %d new masks, %d models", len(new.executions), new.masks, len(new.models))


def tell_mlflow(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Deliver waiting records to MLflow after the end of a run; what fails is kept for the next time."""
    delivered = deliver()
    if delivered.waiting:
        logger = flow_run_logger(flow_run, flow)
        logger.warning("%d records wait for MLflow: %s", delivered.waiting, delivered.why)
