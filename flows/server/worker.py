"""A pool's worker, started anew when it ends of itself.

Prefect's own worker ends at an error that none of its loops expects, and nothing starts it again: the night's runs would
wait for a worker until the morning.
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
from labelfactory.console import say

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, WorkerFlowRunResponse

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds before a worker is started anew: twice as long each time."""
EARLY_SECONDS = 30.0
"""Who ends so soon after the very first start has never worked: an error, of which `up` tells at once."""
STEADY_SECONDS = 600.0
"""A worker that lived so long starts the next pause from the first again."""


class Worker(ProcessWorker):
    """Prefect's worker of processes, which outlives a run that is planned anew while its process is still here.

    The watcher gives a silent run to whoever asks first. Prefect's worker, asked to start a run that it still counts among
    its own, ends with an error, and takes all its runs along; this one leaves the run until the older process has ended.
    """

    @classmethod
    def __dispatch_key__(cls) -> str:
        return "labelfactory process"  # beside Prefect's own in its list of workers, not in its place

    async def _submit_scheduled_flow_runs(self, flow_run_response: "list[WorkerFlowRunResponse]") -> "list[FlowRun]":
        here = self.limiter.statistics().borrowers
        new = [planned for planned in flow_run_response if planned.flow_run.id not in here]
        return await super()._submit_scheduled_flow_runs(new)


async def work(start: Callable[[], Awaitable[None]], name: str) -> None:
    """Run a worker until it is told to end; whatever error it ends with, start the next one.

    Args:
        start: makes a worker and runs it; returns, or is cancelled, when it was told to end.
        name: its name, for what is said.

    Raises:
        Exception: what the first worker ended with, if it ended at its start.
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
            say(f"{name} ended of itself, and starts again in {pause:.0f} s: {_causes(error)}")
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _causes(error: BaseException) -> str:
    """Every error of a group, a line in all."""
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

    # Prefect's handlers end a worker by SIGINT, which is ignored in what a shell has started in the background
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
