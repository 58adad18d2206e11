"""Deliver the outbox to MLflow: in order, each letter once. Where MLflow does not answer, the letters wait."""

import os
from dataclasses import dataclass
from pathlib import Path

from labelfactory.files import write_whole
from lineage.ledger import Ledger
from lineage.outbox import Outbox

HOME = Path("data/mlflow")
ADDRESS = HOME / "address"
"""Where MLflow keeps its runs, if not in this folder's SQLite: one line, without a password."""
QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own defaults would wait for minutes before they say that nobody answers
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass(frozen=True)
class Delivered:
    """How many letters MLflow took, how many wait, and why."""

    taken: int
    waiting: int
    problem: str = ""


def tracking_uri() -> str:
    """$MLFLOW_TRACKING_URI, or what `track_at` was told, or the project's own SQLite file."""
    held = ADDRESS.read_text(encoding="utf-8").strip() if ADDRESS.exists() else ""
    return os.environ.get("MLFLOW_TRACKING_URI") or held or f"sqlite:///{HOME.resolve()}/mlflow.db"


def track_at(uri: str) -> None:
    """From now on MLflow's runs of this project are kept there; its tables are made at once, not by the first runs.

    Args:
        uri: without a password, since it is written to a file.
    """
    quiet()
    from lineage.tracking import Tracking

    Tracking(uri, head={})
    HOME.mkdir(parents=True, exist_ok=True)
    with write_whole(ADDRESS) as temporary:
        temporary.write_text(f"{uri}\n", encoding="utf-8")


def deliver(outbox: Outbox | None = None, ledger: Ledger | None = None) -> Delivered:
    """Replay what waits. A letter that MLflow took is gone; the first that it does not take stops the delivery."""
    outbox, ledger = outbox or Outbox(), ledger or Ledger()
    if not outbox.letters():
        return Delivered(0, 0)
    quiet()
    taken = 0
    with outbox.locked() as mine:
        if not mine:
            return Delivered(0, len(outbox.letters()), "another process is delivering")
        try:
            from lineage.tracking import Tracking  # MLflow takes seconds to import, so only where something waits

            tracking = Tracking(tracking_uri(), head=ledger.head())
            for letter in outbox.letters():
                tracking.take(letter)
                letter.done()
                taken += 1
        except Exception as error:  # whatever ails MLflow must not stop the line
            reason = " ".join(str(error).split())[:200]
            return Delivered(taken, len(outbox.letters()), f"{type(error).__name__}: {reason}")
    return Delivered(taken, 0)


def quiet() -> None:
    """Keep libraries from calling home, and MLflow from waiting for minutes: variables that nobody has set."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
