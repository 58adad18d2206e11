"""MLflow's pages as this project starts them: nothing without the login, and nothing for another page."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest
from asgi import answers
from chromium import chromium, needs_chromium, needs_playwright
from factory import free_port
from made_line import MadeLine
from workspace import ROOT

from lineage.deliver import deliver
from lineage.mlflow_server import ENTRANCE, PASSWORD_VARIABLE, USER_VARIABLE, LoginGuard
from lineage.outbox import Outbox
from lineage.record import record

USER, PASSWORD = "keeper", "rosebud-in-mlflow"
OWN = {"host": "127.0.0.1:5000"}


def basic(login: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}


LOGIN = basic(f"{USER}:{PASSWORD}")


def ask(headers, kind="http", path="/"):
    """The messages with which the guard, or the application behind it, answers."""
    return answers(partial(LoginGuard, user=USER, password=PASSWORD), headers, type=kind, path=path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("keeper:wrong"),
        basic(":"),
        {"authorization": "Bearer rosebud-in-mlflow"},
        {"authorization": ""},
        {"cookie": "labelfactory=rosebud-in-mlflow"},
    ],
)
def test_without_the_login_it_is_asked_for(headers):
    """Of every address, so that a browser shows its form."""
    for path in ("/", "/health", "/version", "/api/2.0/mlflow/runs/get", ENTRANCE):
        start = ask({**OWN, **headers}, path=path)[0]
        assert start["status"] == 401
        assert b"Basic" in dict(start["headers"])[b"www-authenticate"]
    assert ask({**OWN, **headers}, kind="websocket")[0]["type"] == "websocket.close"


def test_with_it_and_for_another_page_it_is_refused():
    """A browser sends the login with each request to this server, also for pages of others."""
    assert ask({**OWN, **LOGIN})[0]["status"] == 200
    assert ask({**OWN, **LOGIN, "origin": "http://127.0.0.1:5000"})[0]["status"] == 200
    for headers in (
        {"origin": "http://127.0.0.1:1"},
        {"origin": "null"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil"},
    ):
        assert ask({**OWN, **LOGIN, **headers})[0]["status"] == 403
        assert ask({**OWN, **LOGIN, **headers}, kind="websocket")[0]["type"] == "websocket.close"
    twice = [*OWN.items(), *LOGIN.items(), ("authorization", "Basic x")]
    assert ask(twice)[0]["status"] == 401


def test_the_entrance_leads_to_the_pages_on_this_server():
    """By a whole address: a relative one would keep the login in it."""
    start = ask({**OWN, **LOGIN}, path=ENTRANCE)[0]
    assert (start["status"], dict(start["headers"])[b"location"]) == (303, b"http://127.0.0.1:5000/")


@contextmanager
def serving(environment: dict[str, str]) -> Iterator[str]:
    """The server of the project in the current folder. Gives the address that it prints."""
    port = free_port()
    own = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    words = [sys.executable, "-W", "ignore", "-m", "lineage.mlflow_server", "--port", str(port)]
    with subprocess.Popen(words, env=own, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("MLflow: "), line
            yield line.split()[1]
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.starts_server
def test_the_record_is_shown_and_kept_by_who_has_the_login(tmp_path, monkeypatch):
    """Letters are delivered to it under MLflow's own variables; without them they wait."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LABELFACTORY_DEVICE", "cpu")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    MadeLine()
    login = {USER_VARIABLE: USER, PASSWORD_VARIABLE: PASSWORD}
    with serving(login) as address:
        assert PASSWORD not in address
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address.rstrip("/"))
        record()
        waiting = len(Outbox().letters())
        refused = deliver()
        assert (refused.taken, refused.waiting) == (0, waiting)
        for name, value in login.items():
            monkeypatch.setenv(name, value)
        taken = deliver()
        assert (taken.taken, taken.waiting, taken.problem) == (waiting, 0, "")
        query = f"{address}api/2.0/mlflow/experiments/search?max_results=9"
        assert httpx.get(query, timeout=60).status_code == 401
        found = httpx.get(query, auth=httpx.BasicAuth(USER, PASSWORD), timeout=60).json()["experiments"]
        assert "labelfactory" in {each["name"] for each in found}


@pytest.mark.slow
@pytest.mark.starts_server
@needs_chromium
@needs_playwright
def test_the_printed_address_lets_a_browser_in(tmp_path, monkeypatch):
    """Its pages can call the server, and call no other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with serving({USER_VARIABLE: "", PASSWORD_VARIABLE: ""}) as address, chromium() as browser:
        page = browser.new_context().new_page()
        page.set_default_timeout(120_000)
        finished: list[str] = []
        page.on("requestfinished", lambda request: finished.append(request.url))
        login, _, server = address.removeprefix("http://").removesuffix(ENTRANCE).partition("@")
        assert login.startswith("admin:")
        with page.expect_response(lambda response: "experiments/search" in response.url) as answered:
            page.goto(address)
        assert answered.value.status == 200
        assert page.url.startswith(f"http://{server}/")
        assert [url for url in finished if server not in url and not url.startswith(("data:", "blob:"))] == []


@pytest.mark.slow
@pytest.mark.starts_program
def test_a_record_on_another_server_is_not_shown_here(tmp_path):
    """In two lines."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    words = [sys.executable, "-m", "lineage.mlflow_server", "--port", str(free_port())]
    done = subprocess.run(words, env=own, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("error: http://127.0.0.1:9: a server shows this record already\nOpen")
