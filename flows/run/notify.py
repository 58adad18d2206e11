"""At the end of a run: one line in the log, and a message to the webhook if there is one."""

import logging
from typing import Any

from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.loggers import flow_run_logger
from prefect.settings import PREFECT_API_URL, get_current_settings

from flows.server.api import Api
from flows.server.webhook import post, webhook_address
from labelfactory.masking import masked


def announce(flow: Any, flow_run: FlowRun, state: State[Any]) -> None:
    """Log the end of a run and post it to the webhook. A failing webhook does not change the run."""
    logger = flow_run_logger(flow_run, flow)
    details = f": {masked(state.message)}" if state.message else ""
    level = logging.INFO if state.is_completed() else logging.ERROR
    logger.log(level, "%s: %s%s", flow_run.name, state.name, details)
    try:
        address = webhook_address(Api(PREFECT_API_URL.value()) if PREFECT_API_URL.value() else None)
        if address:
            post(address, message(flow.name, flow_run, state))
    except Exception as error:  # its text may contain the address, and with it a token
        logger.warning("the webhook did not accept the message: %s", type(error).__name__)


def message(flow_name: str, run: FlowRun, state: State[Any]) -> dict[str, Any]:
    """The message: the run, its final state and its page. `text` is what chat programs show."""
    page, reason = get_current_settings().ui_url, masked(state.message or "")
    return {
        "text": masked(f"{flow_name}: {run.name}: {state.name}") + (f"\n{reason}" if reason else ""),
        "flow": flow_name,
        "run": run.name,
        "run_id": str(run.id),
        "state": state.name,
        "type": state.type.value,
        "message": reason,
        "attempt": run.run_count,
        "page": f"{page}/runs/flow-run/{run.id}" if page else None,
    }
