"""Where MLflow keeps the runs of this project, and the settings that keep it quiet. Imports nothing of MLflow."""

import os
import re
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.files import write_whole

HOME = Path("data/mlflow")
SQLITE = "sqlite:///"
ADDRESS = HOME / "address"
"""Where MLflow keeps its runs, if not in this folder's SQLite: one line, without a password."""
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # by default MLflow waits for minutes before it says that a server does not answer
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI, or the address that `write_address` kept, or the project's own SQLite file.

    Raises:
        DataError: the file with the address is damaged.
    """
    kept = ADDRESS.read_text(encoding="utf-8", errors="replace").strip() if ADDRESS.exists() else ""
    if kept and not re.fullmatch(r"[a-z][a-z0-9+.-]*:[!-~]+", kept):
        remedy = "Delete it, and type `labelfactory up` with the same --database, or set MLFLOW_TRACKING_URI."
        raise DataError(f"{ADDRESS}: damaged: not one address", remedy)
    return os.environ.get("MLFLOW_TRACKING_URI") or kept or f"{SQLITE}{HOME.resolve()}/mlflow.db"


def write_address(uri: str) -> None:
    """Keep the address of MLflow's runs, which must hold no password."""
    HOME.mkdir(parents=True, exist_ok=True)
    with write_whole(ADDRESS) as temporary:
        temporary.write_text(f"{uri}\n", encoding="utf-8")


def quiet() -> None:
    """Stop libraries from calling home, and MLflow from waiting for minutes: sets variables that are not set yet."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
