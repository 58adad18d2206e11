"""`labelfactory serve`: read-only pages of images, masks, models and the line."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.server.api import find_page
from labelfactory.errors import UserError
from labelfactory.http_server import LOOPBACK, open_socket
from labelfactory.settings.wiring import WIRING_FILE, read_wiring
from lineage.ledger import Ledger
from lineage.mlflow_home import tracking_uri
from pages.slow_query import SlowQuery

TOKEN_VARIABLE = "LABELFACTORY_TOKEN"
PATIENCE = 600.0
"""Seconds after which DVC and MLflow are queried again without a visible change."""
WATCHED = (Path("dvc.lock"), WIRING_FILE, Path("params.yaml"), Path("data/import"), Path("data/corrections"))


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8600,
    host: Annotated[str, typer.Option(help="Address to listen on; other than on 127.0.0.1, visitors need a token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[str, typer.Option(help="Token of visitors. Default: a new one if the host needs one.")] = "",
    mlflow: Annotated[str, typer.Option(help="Address of MLflow's page, for links to its runs.")] = "",
) -> None:
    """Show images, masks, models and the line as pages, at http://127.0.0.1:8600."""
    if not WIRING_FILE.exists():
        raise UserError(f"there is no {WIRING_FILE} here", "Type `labelfactory serve` in the project's root folder.")
    token = token or os.environ.get(TOKEN_VARIABLE, "")
    if host not in LOOPBACK and not token:
        token = secrets.token_urlsafe(24)
    if token and not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise UserError("a token may have letters, digits, - and _", "Leave --token out to get a new one.")
    page = _mlflow_page(mlflow)

    from pages.guard import ENTRANCE, USER
    from pages.project import PageAddresses, Project  # takes a second to load
    from pages.server import run_server

    opened = open_socket(host, port)
    shown = "127.0.0.1" if host in LOOPBACK else host
    place = f"{shown}:{opened.getsockname()[1]}"
    address = f"http://{USER}:{token}@{place}{ENTRANCE}" if token else f"http://{place}/"
    typer.echo(f"serve: {address}   (Ctrl-C ends it)", err=True)  # not `say`, which would mask the token
    run_server(Project(_state(), _runs(), PageAddresses(page, find_page())), opened, host=host, token=token)


def _state() -> SlowQuery:
    """Query of DVC's state in a subprocess, repeated when a file that stages depend on changes."""
    return SlowQuery([sys.executable, "-m", "flows.line.status_query"], _changes, patience=PATIENCE)


def _changes() -> list[tuple[str, int]]:
    """Modification times of the stages' code, settings, imports and reports."""
    code = {path for wired in read_wiring().values() for path in wired.code}
    folders = {path for path in code if path.is_dir()}
    files = {*WATCHED, *(code - folders), *(f for folder in folders for f in folder.rglob("*.py"))}
    files |= {f for folder in ("data/import", "data/corrections", "data/reports") for f in Path(folder).glob("*")}
    return sorted((str(path), path.stat().st_mtime_ns) for path in files if path.exists())


def _runs() -> SlowQuery:
    """Query of the MLflow run of each execution, in a subprocess, since MLflow takes seconds to load."""
    return SlowQuery(
        [sys.executable, "-m", "lineage.mlflow_runs"], lambda: Ledger().head()["digest"], patience=PATIENCE
    )


def _mlflow_page(named: str) -> str:
    """Address of MLflow's page: from the option, or the tracking server if that is an address."""
    uri = tracking_uri()
    address = named or (uri if uri.startswith(("http://", "https://")) else "")
    if address and not address.startswith(("http://", "https://")):
        raise UserError(
            f"--mlflow {address!r} must begin with http:// or https://",
            "Type it like this: --mlflow http://127.0.0.1:5000",
        )
    return address.rstrip("/")
