"""A real server that `labelfactory up` started, and those who must not use it: other users of the machine, pages of other sites.

Before there was a guard, a request without any header made a deployment whose first step the worker ran as a shell command.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from chromium import chromium, needs_chromium, needs_playwright
from databases import with_databases
from factory import SETTINGS, Factory, running_in, wait_until
from loopback import Loopback, QuietHandler
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from workspace import make_workspace

from flows.server.login import SERVER_VARIABLE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEP = {"prefect.deployments.steps.run_shell_script": {"script": "touch stolen"}}
POOL = {"name": "theirs", "type": "process"}
SOCKETS = ("events/in", "events/out", "logs/out", "task_runs/subscriptions/scheduled", "work_pools/cpu/workers/connect")
PATIENCE_MS = 120_000


@pytest.fixture(scope="module")
def factory() -> Iterator[Factory]:
    """Server and worker, with the login that `up` makes, in a folder that every user of this machine may enter."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", SERVER_VARIABLE):
            patch.delenv(name, raising=False)
        Path(home).chmod(0o755)
        folder = with_databases(make_workspace(Path(home) / "project"))
        factory = Factory(folder, SETTINGS)
        try:
            factory.up()
            yield factory
        finally:
            factory.type("down")
            assert running_in(folder) == []
            assert factory.login == ""


def stranger(*words: str) -> subprocess.CompletedProcess[str]:
    """A command of another user of this machine; of this user where that cannot be."""
    other = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 and shutil.which("runuser") else []
    return subprocess.run([*other, *words], capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here")
def test_another_user_of_the_machine_can_make_nothing(factory):
    """By curl, however the content is named; and reads nothing of what the server knows."""
    asks = {"/flows/": {"name": "x"}, "/work_pools/": POOL, "/deployments/": {"name": "x", "pull_steps": [STEP]}}
    for path, body in asks.items():
        for kind in ("content-type: application/json", "content-type: text/plain", "content-type:"):
            for login in ((), ("-u", "admin:guess"), ("-u", "admin:"), ("-H", "authorization: Bearer x")):
                words = ("-s", "-m", "60", "-X", "POST", "-H", kind, "-d", json.dumps(body), *login)
                done = stranger("curl", *words, "-o", "/dev/null", "-w", "%{http_code}", f"{factory.api.url}{path}")
                assert done.stdout == "401", (path, kind, login)
    for path in ("/version", "/admin/settings", "/flows/filter", "/health/../admin/settings"):
        done = stranger("curl", "-s", "-m", "60", "--path-as-is", "-w", "%{http_code}", f"{factory.api.url}{path}")
        assert done.stdout.endswith("401"), path
    assert {pool["name"] for pool in factory.api.post("/work_pools/filter", {})} == {"cpu", "gpu"}
    assert factory.api.post("/deployments/filter", {}) == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("runuser"), reason="only root can be another user")
def test_another_user_of_the_machine_reads_no_secret(factory):
    """Neither login, logs and database nor the commands and environments of the processes."""
    folder = factory.folder / ".labelfactory"
    assert stranger("ls", str(folder)).returncode == 0  # it is not for want of the way there
    readable = stranger("find", str(folder), "-type", "f", "-readable").stdout.split()
    assert [path for path in readable if "/locks/" not in path] == []
    for name in ("login", "services.json", "server.log", "worker-cpu.log", "prefect/prefect.db"):
        assert "Permission denied" in stranger("cat", str(folder / name)).stderr
    for pid in running_in(factory.folder):
        assert stranger("cat", f"/proc/{pid}/environ").returncode != 0


def test_the_login_is_in_no_command_no_log_and_no_state(factory):
    """The processes have it from their environment."""
    login = factory.login
    forms = (login.encode(), login.partition(":")[2].encode(), base64.b64encode(login.encode()))
    processes = running_in(factory.folder)
    assert len(processes) >= 3
    for pid in processes:
        assert not any(form in " ".join(psutil.Process(pid).cmdline()).encode() for form in forms)
    for path in state_of(factory):
        if path.name != "login":
            assert not any(form in path.read_bytes() for form in forms), path


def test_commands_know_the_login_by_themselves(factory, monkeypatch):
    """Also where the environment names the server; without the file, they say what is missing."""
    assert "already up" in factory.up()
    assert "label-factory/cpu" in factory.type("deploy")
    monkeypatch.setenv("PREFECT_API_URL", factory.api.url)
    assert "label-factory/cpu" in factory.type("deploy")
    for deployment in factory.api.post("/deployments/filter", {}):
        factory.api.call("DELETE", f"/deployments/{deployment['id']}")
    path = factory.folder / ".labelfactory/login"
    content = path.read_text()
    path.unlink()
    try:
        shown = factory.type("deploy", code=2)
    finally:
        path.write_text(content)
        path.chmod(0o600)
    assert "the server expects other credentials (401)" in shown
    assert "PREFECT_API_AUTH_STRING" in shown


def test_a_server_that_was_killed_comes_back_with_the_same_login(factory):
    """The worker goes on with the login that it has."""
    before = factory.login
    worker = factory.pid("worker cpu")
    psutil.Process(factory.pid("server")).kill()
    wait_until(lambda: "has ended" in factory.type("deploy", code=2))
    factory.up()
    assert factory.login == before
    assert factory.pid("worker cpu") == worker
    (name,) = (worker["name"] for worker in factory.api.post("/work_pools/cpu/workers/filter", {}))
    seen = last_heartbeat(factory, name)
    wait_until(lambda: last_heartbeat(factory, name) != seen)


def last_heartbeat(factory: Factory, name: str) -> str:
    workers = factory.api.post("/work_pools/cpu/workers/filter", {})
    return str({worker["name"]: worker["last_heartbeat_time"] for worker in workers}[name])


def test_a_worker_of_another_machine_brings_the_login(factory, monkeypatch):
    """By a variable, which is then written nowhere; without it, the command says what is missing and starts nothing."""
    other = Factory(make_workspace(factory.folder.parent / "other"))
    words = ("up", "--join", factory.api.url, "--pool", "gpu")
    shown = other.type(*words, code=2)
    assert "the server expects other credentials (401)" in shown
    assert running_in(other.folder) == []
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", factory.login)
    try:
        assert "worker gpu: pid" in other.type(*words)
        assert other.login == ""
        assert not any(factory.login.encode() in path.read_bytes() for path in state_of(other))
    finally:
        other.type("down")
    assert running_in(other.folder) == []
    assert "worker gpu" not in (factory.folder / ".labelfactory/services.json").read_text()


def state_of(factory: Factory) -> list[Path]:
    return [path for path in (factory.folder / ".labelfactory").rglob("*") if path.is_file()]


def test_foreign_names_and_pages_are_refused_with_the_right_login_too(factory):
    """By every part of the server, not only its API."""
    login = httpx.BasicAuth(*factory.login.split(":"))
    own = factory.api.page.removeprefix("http://")
    for path in ("/api/version", "/api/health", "/", "/v2/", "/ui-settings", "/enter", "/docs"):
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "http://127.0.0.1:1"}):
            answer = httpx.get(f"{factory.api.page}{path}", headers=headers, auth=login, timeout=60)
            assert answer.status_code == 403, (path, headers)
            assert "access-control-allow-origin" not in answer.headers
    answer = httpx.get(f"{factory.api.url}/version", headers={"origin": f"http://{own}"}, auth=login, timeout=60)
    assert answer.status_code == 200
    assert answer.headers.get("access-control-allow-origin") != "*"


@pytest.mark.parametrize("path", SOCKETS)
def test_sockets_want_the_login_and_an_own_page(factory, path):
    """As Prefect's own programs open them."""
    address = f"{factory.api.url.replace('http', 'ws', 1)}/{path}"
    own: Any = {"subprotocols": ["prefect"], "open_timeout": 60}
    with pytest.raises(InvalidStatus, match="403"), connect(address, origin="http://evil.example", **own):
        pass
    led = socket.create_connection(("127.0.0.1", factory.port))
    with (
        led,
        pytest.raises(InvalidStatus, match="403"),
        connect(address.replace("127.0.0.1", "evil.example"), sock=led, **own),
    ):
        pass
    for token in (None, "admin:guess"):
        with connect(address, **own) as opened:
            opened.send(json.dumps({"type": "auth", "token": token}))
            with pytest.raises(ConnectionClosed):
                opened.recv(60)
    with connect(address, **own) as opened:
        opened.send(json.dumps({"type": "auth", "token": factory.login}))
        assert json.loads(opened.recv(60)) == {"type": "auth_success"}


# --- a browser ---------------------------------------------------------------------------------------------------------

ATTACK = """async ([api, body]) => {
    const bytes = new Blob([body]);  // of no type, so a browser asks nobody before it sends it
    const ways = {
        "no type": () => fetch(`${api}/work_pools/`, {method: "POST", mode: "no-cors", body: bytes}),
        "text": () => fetch(`${api}/work_pools/`, {method: "POST", mode: "no-cors", body}),
        "with what the browser has": () =>
            fetch(`${api}/work_pools/`, {method: "POST", mode: "no-cors", credentials: "include", body: bytes}),
        "JSON": () => fetch(`${api}/work_pools/`, {method: "POST", headers: {"content-type": "application/json"}, body}),
        "beacon": async () => navigator.sendBeacon(`${api}/work_pools/`, bytes),
        "reading": async () => (await fetch(`${api}/admin/settings`)).text(),
        "script": () => new Promise((done, failed) => {
            const script = document.createElement("script");
            [script.src, script.onload, script.onerror] = [`${api}/admin/settings`, done, failed];
            document.body.append(script);
        }),
        "socket": () => new Promise((done, failed) => {
            const socket = new WebSocket(`${api.replace("http", "ws")}/events/in`, ["prefect"]);
            [socket.onopen, socket.onerror] = [done, failed];
        }),
        "form": () => new Promise(done => {
            const form = document.createElement("form"), frame = document.createElement("iframe");
            frame.name = "frame";
            [form.action, form.method, form.enctype, form.target] = [`${api}/work_pools/`, "POST", "text/plain", "frame"];
            form.innerHTML = `<input name='{"name": "theirs", "type": "process", "description": "'  value='"}'>`;
            document.body.append(frame, form);
            frame.onload = done;
            form.submit();
        }),
    };
    const ended = {};
    for (const [name, way] of Object.entries(ways)) ended[name] = await way().then(() => "done", () => "failed");
    return ended;
}"""


class Evil(QuietHandler):
    """An empty page of another server."""

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>harmless</title>")


@contextmanager
def visitor(*options: str) -> Iterator[Any]:
    """A page in a browser without a past."""
    with chromium(*options) as browser:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()


def printed(factory: Factory) -> str:
    """The address that `up` prints."""
    return factory.up().split("server: ", 1)[1].split()[0]


@needs_chromium
@needs_playwright
def test_the_printed_address_lets_a_browser_in(factory):
    """The login is gone from the address at once; pages work, without a request to another server; other browsers are out."""
    with visitor() as page:
        page.goto(f"{factory.api.page}/work-pools")
        page.wait_for_url("**/login**", wait_until="commit")
        asked: list[str] = []
        answers: list[int] = []
        page.on("requestfinished", lambda request: asked.append(request.url))
        page.on("response", lambda response: answers.append(response.status) if "/api/" in response.url else None)
        page.goto(printed(factory))
        page.wait_for_url("**/v2/dashboard**", wait_until="commit")
        page.get_by_text("Dashboard").first.wait_for()
        page.wait_for_load_state("networkidle")
        assert answers
        assert set(answers) == {200}
        assert [url for url in asked if not url.startswith((factory.api.page, "data:", "blob:"))] == []
        assert base64.b64encode(factory.login.encode()).decode() not in page.url
        page.goto(f"{factory.api.page}/v2/work-pools")
        page.get_by_text("gpu").first.wait_for()
        assert set(answers) == {200}


@needs_chromium
@needs_playwright
@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1", "localhost"])
def test_a_page_of_another_server_can_make_and_read_nothing(factory, name):
    """In a browser that has been let in; also a page of another port of this machine, which counts as the same site."""
    evil = Loopback(Evil)
    try:
        with visitor(f"--host-resolver-rules=MAP {name} 127.0.0.1") as page:
            page.goto(printed(factory))
            page.wait_for_url("**/v2/dashboard**", wait_until="commit")
            page.goto(evil.root.replace("127.0.0.1", name))
            statuses: dict[str, set[int]] = {}
            page.on("response", lambda r: statuses.setdefault(r.request.method, set()).add(r.status))
            ended = page.evaluate(ATTACK, [factory.api.url, json.dumps(POOL)])
            page.wait_for_load_state("networkidle")
    finally:
        evil.close()
    assert {name for name, end in ended.items() if end == "done"} <= {
        "no type",
        "text",
        "with what the browser has",
        "beacon",
        "form",
    }, "the others would have read an answer"
    assert statuses["POST"] == {403}, "they were sent, and the guard refused them"
    assert {pool["name"] for pool in factory.api.post("/work_pools/filter", {})} == {"cpu", "gpu"}


@needs_chromium
@needs_playwright
def test_a_name_that_was_made_to_lead_here_is_refused(factory):
    """DNS rebinding: the attacker's page and this server then have the same origin."""
    rebound = factory.api.page.replace("127.0.0.1", "evil.example")
    with visitor("--host-resolver-rules=MAP evil.example 127.0.0.1") as page:
        page.goto(printed(factory))
        page.wait_for_url("**/v2/dashboard**", wait_until="commit")
        answer = page.goto(rebound)
        assert answer.status == 403
        ask = "async path => (await fetch(path, {method: path.endsWith('/') ? 'POST' : 'GET'})).status"
        for path in ("/api/health", "/api/version", "/api/work_pools/", "/ui-settings"):
            assert page.evaluate(ask, path) == 403, path


@needs_chromium
@needs_playwright
def test_another_page_cannot_show_it_in_a_frame(factory):
    """A visitor could be led to click in it."""
    evil = Loopback(Evil)
    try:
        with visitor() as page:
            page.goto(printed(factory))
            page.wait_for_url("**/v2/dashboard**", wait_until="commit")
            page.goto(evil.root)
            shown = (
                "address => { const f = document.createElement('iframe'); f.src = address; document.body.append(f); }"
            )
            with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
                page.evaluate(shown, f"{factory.api.page}/v2/dashboard")
    finally:
        evil.close()
