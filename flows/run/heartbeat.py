"""A run writes a heartbeat into one of its labels every few seconds; `flows.server.watch` looks for silent runs.

A run ends itself if the server has marked it as crashed or given it to another worker.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run as this_run

from flows.server.intervals import LABEL, beat_seconds
from labelfactory.console import say


@contextmanager
def heartbeat() -> Iterator[None]:
    """Write heartbeats in a thread while the body runs; do nothing outside of a flow run."""
    if this_run.id is None:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_beat, args=(UUID(this_run.id), this_run.run_count, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(beat_seconds())


def _beat(run: UUID, count: int, stop: threading.Event) -> None:
    with get_client(sync_client=True) as client:
        while True:
            try:
                client.update_flow_run_labels(run, {LABEL: datetime.now(UTC).isoformat()})
                ours = _is_ours(client, run, count)
            except Exception as error:  # a server that is down for a while must not end the work
                say(f"heartbeat: the server does not answer: {type(error).__name__}")
                ours = True
            if not ours and not stop.is_set():
                say("this run was given to another worker; it ends here")
                os._exit(0)  # without a message to the server: the run's state belongs to another worker
            if stop.wait(beat_seconds()):
                return


def _is_ours(client: SyncPrefectClient, run: UUID, count: int) -> bool:
    """Whether the run is still running on the server, in this attempt."""
    current = client.read_flow_run(run)
    alive = current.state is not None and (current.state.is_running() or current.state.is_cancelling())
    return alive and current.run_count == count
