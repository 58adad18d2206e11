"""`labelfactory serve`: pages to look at images, masks, models and the line. They read, and change nothing."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn

from flows.api import find_page
from labelfactory.errors import UserError
from labelfactory.progress import say
from labelfactory.wiring import WIRING_FILE
from lineage.deliver import tracking_uri
from lineage.ledger import Ledger
from pages.guard import LOOPBACK
from pages.looks import Look
from pages.project import Places, Project
from pages.site import make_site

PROGRAM = (sys.executable, "-c", "from app.main import main; main()")
"""This very program, for what is asked in a process of its own."""
WATCHED = (Path("dvc.lock"), WIRING_FILE, Path("params.yaml"), Path("data/reports"))
"""Files whose change makes DVC's last answer old."""
TOKEN_VARIABLE = "LABELFACTORY_TOKEN"


def serve(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8600,
    host: Annotated[str, typer.Option(help="Address to listen on; anything but this machine asks for a token.")] = (
        "127.0.0.1"
    ),
    token: Annotated[str, typer.Option(help="What visitors have to bring. Default: a new one for other hosts.")] = "",
    mlflow: Annotated[str, typer.Option(help="Address of MLflow's page, for links to its runs.")] = "",
) -> None:
    """Show images, masks, models and the line as pages, at http://127.0.0.1:8600."""
    if not WIRING_FILE.exists():
        raise UserError(f"there is no {WIRING_FILE} here", "Type `labelfactory serve` in the project's root folder.")
    token = token or os.environ.get(TOKEN_VARIABLE, "")
    if host not in LOOPBACK and not token:
        token = secrets.token_urlsafe(24)
    if token and not (token.isascii() and token.replace("-", "").replace("_", "").isalnum()):
        raise UserError("a token is made of letters, digits, - and _", "Leave --token out, and one is made.")
    hosts = LOOPBACK if host in LOOPBACK else ()
    site = make_site(Project(_state(), _runs(), _places(mlflow)), hosts=hosts, token=token)
    server = uvicorn.Server(uvicorn.Config(site, host=host, port=port, log_level="warning", access_log=False))
    shown = "127.0.0.1" if host in LOOPBACK else host
    say(f"serve: http://{shown}:{port}/{f'?token={token}' if token else ''}   (Ctrl-C ends it)")
    server.run()
    if not server.started:
        raise UserError(f"{host}:{port} is taken, or no address of this machine", "Name another port with --port.")


def _state() -> Look:
    """What DVC says is stale: its answer takes a second or two, and DVC's lock for as long."""
    return Look([*PROGRAM, "status", "--json"], lambda: [_stamp(path) for path in WATCHED])


def _runs() -> Look:
    """Which MLflow run each execution became. Loading MLflow takes seconds, so it is loaded elsewhere."""
    return Look([sys.executable, "-m", "lineage.mlflow_runs"], lambda: Ledger().head()["digest"], patience=600)


def _stamp(path: Path) -> Any:
    return path.stat().st_mtime_ns if path.exists() else None


def _places(mlflow: str) -> Places:
    """Pages of MLflow and Prefect: those that are named, or where their servers are known to be."""
    uri = tracking_uri()
    found = mlflow or (uri if uri.startswith(("http://", "https://")) else "")
    if found and not found.startswith(("http://", "https://")):
        raise UserError(f"--mlflow {found!r} is no address", "Type it like this: --mlflow http://127.0.0.1:5000")
    return Places(found.rstrip("/"), find_page())
