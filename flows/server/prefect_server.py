"""Prefect's server, whose garbage is collected in a thread of its own.

    python -m flows.server.prefect_server --host 127.0.0.1 --port 4200      as `prefect server start`

A cursor of SQLite whose statement failed, as the database was locked, lives on in its error's traceback until Python happens to
collect garbage, and its end waits for its connection. That connection may be waiting for the lock again, up to the minute that
Prefect gives it, and whoever holds the lock needs the server's event loop to let go of it. Python collects garbage in that very
loop: nothing answers, not even a read, until the minute is over. In another thread the same wait is in nobody's way.
"""

import gc
import sys
import threading
import time
from typing import NoReturn

from prefect.cli import app

SECONDS = 1.0
"""Between two collections of what is young."""
ROUNDS = 60
"""Every so many of them, all is collected."""


def collect_beside() -> threading.Thread:
    """From now on garbage is collected in the returned thread alone, a daemon, which ends with the process."""
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
