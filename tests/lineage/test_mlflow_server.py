"""A real MLflow server with its own login: it hears everything from who knows the login, and the pages' links lead to it."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from factory import free_port, wait_until
from made_line import MadeLine
from visiting import UNKNOWN
from werkzeug.security import generate_password_hash
from workspace import BIN, ROOT

from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.outbox import Outbox
from lineage.record import record
from pages.links import run_links
from pages.project import PageAddresses, Project
from pages.slow_query import SlowQuery

USER, PASSWORD = "keeper", "rosebud-in-mlflow"

pytestmark = [pytest.mark.slow, pytest.mark.starts_server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of `mlflow server --app-name basic-auth`, on a free port of 127.0.0.1."""
    pytest.importorskip("flask_wtf", reason="MLflow's login needs Flask-WTF")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/users.db\n"
        f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    words = ["server", "--app-name", "basic-auth", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for this test alone",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # seven processes for jobs that nobody sends
    }
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("w") as log:
        running = subprocess.Popen(
            [BIN / "mlflow", *words, *places],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_until(lambda: _answers(address), (folder / "log").read_text, 240)
            _hash_cheaply(folder / "users.db")
            yield address
        finally:
            os.killpg(running.pid, 15)
            running.wait(60)


def _hash_cheaply(users: Path) -> None:
    """The password under a hash of one round: the usual one is made to be slow, and each of some hundred requests checks it."""
    cheap = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
    with closing(sqlite3.connect(users)) as known, known:
        changed = known.execute("UPDATE users SET password_hash = ? WHERE username = ?", (cheap, USER))
        assert changed.rowcount == 1


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_server_with_a_login_hears_everything_from_who_knows_it(server, tmp_path, monkeypatch):
    """Without or with a wrong login the letters wait, and say so at once; with it all arrive, and the pages link there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    MadeLine()
    record()
    waiting = len(Outbox().letters())
    for login in ({}, {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": "wrong"}):
        for name, value in login.items():
            monkeypatch.setenv(name, value)
        refused = deliver()
        assert (refused.taken, refused.waiting) == (0, waiting)
        assert "401" in refused.problem or "authenticated" in refused.problem
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    heard = deliver()
    assert (heard.taken, heard.waiting, heard.problem) == (waiting, 0, "")

    told = subprocess.run(
        [sys.executable, "-m", "lineage.mlflow_runs"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    look = SlowQuery([sys.executable, "-c", f"print({json.dumps(told.stdout)})"], lambda: 0)
    look.refresh()
    look.wait()
    pages = Project(UNKNOWN, look, PageAddresses(mlflow=server))
    login = httpx.BasicAuth(USER, PASSWORD)
    stages = Ledger().events("line")[-1]["detail"]["stages"]
    for run in stages.values():
        ((name, address),) = run_links(pages, run, {})
        assert name == "MLflow"
        page, _, place = address.partition("/#/")
        assert httpx.get(page, auth=login, timeout=60).status_code == 200
        _, experiment, _, found = place.split("/")
        answer = httpx.get(f"{server}/api/2.0/mlflow/runs/get", params={"run_id": found}, auth=login, timeout=60).json()
        assert answer["run"]["info"]["experiment_id"] == experiment
        assert {"key": "labelfactory.id", "value": run} in answer["run"]["data"]["tags"]
    assert httpx.get(f"{server}/api/2.0/mlflow/runs/get", params={"run_id": found}, timeout=60).status_code == 401

    query = {"name": "segmenter", "alias": "latest"}
    alias = httpx.get(f"{server}/api/2.0/mlflow/registered-models/alias", params=query, auth=login, timeout=60)
    versions = httpx.get(f"{server}/api/2.0/mlflow/model-versions/search", auth=login, timeout=60).json()
    assert [v["name"] for v in versions["model_versions"]] == ["segmenter"]
    assert alias.status_code == 200, "latest is the registry's own name for the newest version"
    assert not [p for p in Path("data").rglob("*") if p.is_file() and PASSWORD.encode() in p.read_bytes()]
