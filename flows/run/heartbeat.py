"""A run says every few seconds that it lives, as a label of the run itself; `flows.server.watch` looks for those that fell silent.

A run that is no longer the server's own (it was marked as crashed, or another worker has taken it up) ends itself.
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
    """Beat in a thread of its own while the body runs. Outside a flow run nothing beats."""
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
            except Exception as error:  # a server that is away for a while must not end the work
                say(f"heartbeat: the server does not answer: {type(error).__name__}")
                ours = True
            if not ours and not stop.is_set():
                say("this run was given to another worker; it ends here")
                os._exit(0)  # at once and without a word to the server: the run's state is another's now
            if stop.wait(beat_seconds()):
                return


def _is_ours(client: SyncPrefectClient, run: UUID, count: int) -> bool:
    """Whether the server still counts on us: the run is running, and it is this attempt of it."""
    seen = client.read_flow_run(run)
    alive = seen.state is not None and (seen.state.is_running() or seen.state.is_cancelling())
    return alive and seen.run_count == count
