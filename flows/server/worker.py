"""A pool's worker that is restarted when it ends unexpectedly.

Prefect's own worker ends at an unexpected error and nothing restarts it: the night's runs would wait until the morning.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TYPE_CHECKING, Annotated

import typer
from prefect.settings import PREFECT_WORKER_HEARTBEAT_SECONDS
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.process import ProcessWorker

from flows.server.services import RUNS_AT_ONCE
from flows.server.started import read_services
from labelfactory.console import say

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, WorkerFlowRunResponse

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds before a restart, doubled each time."""
EARLY_SECONDS = 30.0
"""A first worker that ends within this time is an error, which `up` prints."""
STEADY_SECONDS = 600.0
"""After a life of this length the next pause is the first again."""


class Worker(ProcessWorker):
    """Prefect's process worker, which survives a run that is scheduled again while its old process still runs here.

    Prefect's worker ends with an error, and ends all its runs, if it is given a run that it still has; this one leaves such
    a run until the old process has ended. Runs that come after the server of this folder has ended are left, too: another
    user's program may listen in its place, and a run is a command.
    """

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "labelfactory process"  # an own key: Prefect's worker stays registered

    async def _submit_scheduled_flow_runs(self, flow_run_response: "list[WorkerFlowRunResponse]") -> "list[FlowRun]":
        known = read_services()
        if flow_run_response and known is not None and not known.is_up:
            say(
                "runs are given out in place of the server that `labelfactory up` started, which has ended: none is taken"
            )
            return []
        running = self.limiter.statistics().borrowers
        new = [planned for planned in flow_run_response if planned.flow_run.id not in running]
        return await super()._submit_scheduled_flow_runs(new)


async def work(start: Callable[[], Awaitable[None]], name: str) -> None:
    """Run a worker until it is told to end; after an error, start the next one.

    Args:
        start: creates and runs a worker; returns, or is cancelled, when it is told to end.
        name: its name in messages.

    Raises:
        Exception: the error of the first worker, if it ended at its start.
    """
    pause = FIRST_PAUSE
    for number in count():
        began = time.monotonic()
        try:
            await start()
            return
        except Exception as error:
            lived = time.monotonic() - began
            if number == 0 and lived < EARLY_SECONDS:
                raise
            if lived > STEADY_SECONDS:
                pause = FIRST_PAUSE
            say(f"{name} ended unexpectedly, and restarts in {pause:.0f} s: {_causes(error)}")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _causes(error: BaseException) -> str:
    """All errors of a group, in one line."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(one) for one in error.exceptions)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def main(
    pool: Annotated[str, typer.Argument(help="Pool to work for.")],
    name: Annotated[str, typer.Argument(help="The worker's name in it.")],
) -> None:
    """Work for a pool of the server at $PREFECT_API_URL until SIGTERM or SIGINT."""

    async def start() -> None:
        beat = int(PREFECT_WORKER_HEARTBEAT_SECONDS.value())
        worker = Worker(work_pool_name=pool, name=name, limit=RUNS_AT_ONCE, heartbeat_interval_seconds=beat)
        await worker.start(printer=say)

    # Prefect's handlers end a worker by SIGINT, which background processes of a shell ignore
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def until_told() -> None:
        setup_signal_handlers_worker(os.getpid(), "the worker", say)
        await work(start, name)

    try:
        asyncio.run(until_told())
    except KeyboardInterrupt:
        say(f"{name} was told to end")
    except Exception as error:
        say(f"{name} cannot work: {_causes(error)}")
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
