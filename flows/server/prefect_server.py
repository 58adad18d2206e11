"""Prefect's server behind `ServerGuard`, with garbage collection in a separate thread.

    python -m flows.server.prefect_server --host 127.0.0.1      settings and login from the environment, an open socket as stdin

An SQLite cursor whose statement failed on a locked database lives in its error's traceback until garbage collection, and its
finalizer waits for its connection. That connection may be waiting for the lock again, for up to Prefect's minute, and the
holder of the lock needs the server's event loop to release it. If garbage is collected in that loop, the server answers
nothing for that minute. In another thread the wait blocks nothing.
"""

import gc
import socket
import sys
import threading
import time
from typing import Annotated, NoReturn

import typer
import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings

from flows.server.guard import ServerGuard
from flows.server.login import SERVER_VARIABLE
from labelfactory.console import say
from labelfactory.http_server import LOOPBACK

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


def main(
    host: Annotated[str, typer.Option(help="Address that the socket listens on.")],
) -> None:
    """Serve on the socket that is this process's stdin until SIGTERM or SIGINT; never without a login."""
    settings = get_current_settings().server
    if not settings.api.auth_string or not settings.api.auth_string.get_secret_value():
        say(f"the server needs a login: set {SERVER_VARIABLE}")
        sys.exit(2)
    collect_beside()
    guarded = ServerGuard(
        create_app(final=True),
        LOOPBACK if host in LOOPBACK else (),
        settings.api.cors_allowed_origins.split(","),
    )
    config = uvicorn.Config(
        guarded,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )
    server = uvicorn.Server(config)
    server.run(sockets=[socket.socket(fileno=sys.stdin.fileno())])
    if not server.started:  # the log says why
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
