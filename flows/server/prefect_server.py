"""Prefect's server, with garbage collection in a separate thread.

    python -m flows.server.prefect_server --host 127.0.0.1 --port 4200      as `prefect server start`

An SQLite cursor whose statement failed on a locked database lives in its error's traceback until garbage collection, and its
finalizer waits for its connection. That connection may be waiting for the lock again, for up to Prefect's minute, and the
holder of the lock needs the server's event loop to release it. If garbage is collected in that loop, the server answers
nothing for that minute. In another thread the wait blocks nothing.
"""

import gc
import sys
import threading
import time
from typing import NoReturn

from prefect.cli import app

SECONDS = 1.0
"""Seconds between two collections of young objects."""
ROUNDS = 60
"""After this many of them, all objects are collected."""


def collect_beside() -> threading.Thread:
    """Collect garbage only in the returned thread, a daemon, from now on."""
    gc.disable()
    collector = threading.Thread(target=_collect, name="garbage collector", daemon=True)
    collector.start()
    return collector


def _collect() -> NoReturn:
    rounds = 0
    while True:
        time.sleep(SECONDS)
        rounds += 1
        gc.collect(1 if rounds % ROUNDS else 2)


def main() -> None:
    """Start the server with the arguments of `prefect server start`; returns when it has ended."""
    collect_beside()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
