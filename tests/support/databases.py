"""Databases of Prefect's server and of MLflow as they are before anything is in them.

Making one anew takes each of both seven seconds and more, most of what a small project costs. The projects of some tests start
with copies; those of others (test_orchestration, test_own_data) with nothing, as a user's does.
"""

import os
import shutil
import sqlite3
import subprocess
import tempfile
from pathlib import Path

from once import once
from warm_python import warm_python

PREFECT, MLFLOW = ".labelfactory/prefect/prefect.db", "data/mlflow/mlflow.db"
MAKE = {
    PREFECT: ("-m", "prefect", "server", "database", "upgrade", "-y"),
    MLFLOW: ("-c", "from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store; Store({!r}, {!r})"),
}


def with_databases(folder: Path) -> Path:
    """Put a fresh database of each into a project that has none yet."""
    for name in MAKE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fresh(name), folder / name)
    return folder


def fresh(name: str) -> Path:
    """The database, made by the first of all test processes that asks."""

    def make(path: Path) -> None:
        with tempfile.TemporaryDirectory() as home:
            journalled = Path(home) / path.name
            words = [word.format(f"sqlite:///{journalled}", home) for word in MAKE[name]]
            environment = {**os.environ, "PREFECT_HOME": home, "DO_NOT_TRACK": "true"}
            subprocess.run([warm_python() / "python", *words], env=environment, check=True, capture_output=True)
            with sqlite3.connect(journalled) as database:
                database.execute("VACUUM INTO ?", (str(path),))  # with what its journal still holds

    return once(Path(name).name, make)
