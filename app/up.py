"""`labelfactory up` and `labelfactory down`: server and workers on this machine."""

from typing import Annotated

import typer

from flows.server.login import entrance
from flows.server.services import POOLS, down, up
from flows.server.started import Services, read_services
from labelfactory.console import say
from labelfactory.errors import ParamsError, did_you_mean
from labelfactory.http_server import LOOPBACK


def start(
    pool: Annotated[list[str] | None, typer.Option(help="Pool of the workers: cpu or gpu; may be repeated.")] = None,
    host: Annotated[
        str, typer.Option(help="Address that the server listens on; 0.0.0.0 opens it to other machines.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(help="Its port.", min=1, max=65535)] = 4200,
    join: Annotated[str, typer.Option(help="Work for the server at this address; start none.")] = "",
    database: Annotated[
        str, typer.Option(help="PostgreSQL for server and MLflow: postgresql://USER@HOST/NAME. Default: SQLite files.")
    ] = "",
) -> None:
    """Start Prefect's server, a worker for each pool and a watcher for dead runs; wait until they answer."""
    pools = pool or ["cpu"]
    for name in pools:
        if name not in POOLS:
            raise ParamsError(f"--pool {name!r} is not a pool{did_you_mean(name, POOLS)}", f"Use {' or '.join(POOLS)}.")
    if host not in LOOPBACK:
        say(
            f"warning: what goes to {host}:{port} is not encrypted, not even the login; docs/deployment.md says what to do about it"
        )
    before = read_services()
    services = up(host=host, port=port, pools=pools, join=join, database=database)
    if before == services:
        say("already up")
    _print(services)


def end() -> None:
    """End the processes that `labelfactory up` started in this folder."""
    ended = down()
    say(f"ended: {', '.join(ended)}" if ended else "`labelfactory up` started nothing here")


def _print(services: Services) -> None:
    typer.echo(f"server: {entrance(services.api.removesuffix('/api'))}")
    for service in services.services:
        typer.echo(f"{service.name}: pid {service.pid}, log {service.log}")
