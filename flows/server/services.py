"""Start and end server, workers and watcher on this machine.

`flows.server.started` remembers them; their logs are in .labelfactory too.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil

from flows.server.api import AUTH_VARIABLE, KEY_VARIABLE, Api, ApiError, ServerDownError, started_api
from flows.server.database import read_database
from flows.server.login import SERVER_VARIABLE, forget_login, login_of_new_server
from flows.server.private_files import FOLDER, OWNER_ONLY, open_log, own_folder
from flows.server.started import STATE_FILE, Service, Services, read_services, write_services
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.http_server import open_socket
from labelfactory.interrupt import COMMAND_VARIABLE
from labelfactory.lock import REMEDY, BusyError, file_lock
from lineage.deliver import track_at

POOLS = ("cpu", "gpu")
RUNS_AT_ONCE = 1
"""Concurrent runs of a pool: one, since DVC allows one at a time in a folder."""
START_SECONDS = 180.0
END_SECONDS = 20.0
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
    COMMAND_VARIABLE: "",
    # the default, in memory: a restarted server would never free the slots of before
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""No analytics, no prompts, no typed command for stages to name, and slots that survive a restart of the server."""
NO_SETTINGS: Mapping[str, str] = {}


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Refuse a second `up` or `down` in this folder: it would forget what the first one starts."""
    path = own_folder() / "up.lock"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks
            if not stack.enter_context(file_lock(path, wait=False)):
                raise BusyError("another `labelfactory up` or `down` works in this folder", REMEDY)
        yield


@_one_at_a_time()
def up(*, host: str, port: int, pools: Sequence[str], join: str = "", database: str = "") -> Services:
    """Start what is not running yet, and wait until everything answers.

    Args:
        host: address that the server listens on.
        port: its port.
        pools: pools of this machine's workers.
        join: address of another machine's server; then only workers start here.
        database: address of a PostgreSQL for server and MLflow; default: SQLite files in this folder.

    Raises:
        UserError: the port is in use, the database cannot be used, a process ended at its start (the message
            has the end of its log), another `up` works here, or .labelfactory cannot be trusted.
    """
    postgres = read_database(database) if database else None
    if postgres:
        os.environ.update(postgres.password())  # for MLflow here, and for the processes below
    known = read_services()
    before = known.alive() if known else ()
    names = {service.name for service in before}
    if known and "server" in names:
        api = started_api(known)
    elif join:
        forget_login()  # another machine's server has another, from the environment
        api = Api(join)
        api.get("/version")
    else:
        name = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host
        api = Api(f"http://{name}:{port}/api", login_of_new_server(keep=bool(before)))
    kept = list(before)
    try:
        if not join and "server" not in names:
            if postgres:
                postgres.prepare()
                track_at(postgres.tracking)
            _start_server(kept, api, host, port, postgres.server() if postgres else {})
        _start_workers(kept, names, api, pools, watched=not join)
    except BaseException:
        _end([service for service in kept if service not in before])
        if before:
            write_services(api.url, before)
        else:
            _forget()
        raise
    return Services(api.url, tuple(kept))


def _start_server(kept: list[Service], api: Api, host: str, port: int, settings: Mapping[str, str]) -> None:
    """Start the server on a socket that is open before, so that no other program can take the port meanwhile."""
    command = [sys.executable, "-m", "flows.server.prefect_server", "--host", host]
    settings = {SERVER_VARIABLE: api.login, **_own_pages(api), **settings}
    with open_socket(host, port) as listening:
        _start(kept, "server", command, api, settings, stdin=listening.fileno())
    _wait(lambda: _answers(api), kept[-1], api.url)


def _own_pages(api: Api) -> dict[str, str]:
    """The server's pages call the server where the browser found it, and other sites' pages may not, unless the user says so."""
    settings = {}
    if not {"PREFECT_UI_API_URL", "PREFECT_SERVER_UI_API_URL"} & os.environ.keys():
        settings["PREFECT_SERVER_UI_API_URL"] = urlsplit(api.url).path
    if not {"PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"} & os.environ.keys():
        settings["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] = api.page
    return settings


def _start_workers(
    kept: list[Service], names: Container[str], api: Api, pools: Sequence[str], *, watched: bool
) -> None:
    """Create the pools, start the watcher, and a worker for each pool without one."""
    for pool in POOLS:
        api.provide("/work_pools/", {"name": pool, "type": "process", "concurrency_limit": RUNS_AT_ONCE})
    if watched and "watcher" not in names:
        _start(kept, "watcher", [sys.executable, "-m", "flows.server.watch"], api)
    for pool in pools:
        if f"worker {pool}" in names:
            continue
        worker = f"{platform.node()}-{pool}-{os.getpid()}"
        command = [sys.executable, "-m", "flows.server.worker", pool, worker]
        _start(kept, f"worker {pool}", command, api, worker=worker)
        _wait(partial(_is_online, api, pool, worker), kept[-1], f"the pool {pool}")


def _is_online(api: Api, pool: str, worker: str) -> bool:
    return worker in online_workers(api, pool)


@_one_at_a_time()
def down() -> list[str]:
    """End what `up` started here, and the runs of its workers. Returns the names of the ended processes.

    Raises:
        UserError: another `up` works here, or .labelfactory cannot be trusted.
    """
    known = read_services()
    if known is None:
        return []
    ended = _end(known.services, started_api(known))
    _forget()
    return ended


def _forget() -> None:
    """Remove the state file and the login of what it listed."""
    STATE_FILE.unlink(missing_ok=True)
    forget_login()


def _end(services: Sequence[Service], api: Api | None = None) -> list[str]:
    """Terminate processes and their children, last one first; kill those that do not end.

    With `api`, workers are removed from their pools, so that no run waits for them.
    """
    ended = []
    for service in reversed(services):
        process = service.process()
        if process is None:
            continue
        below = process.children(recursive=True)
        process.terminate()
        _, alive = psutil.wait_procs([process], END_SECONDS)
        below = [child for child in below if child.is_running()]
        for child in below:
            _quietly(child.terminate)
        _, left = psutil.wait_procs(below, END_SECONDS)
        for child in [*alive, *left]:
            _quietly(child.kill)
        ended.append(service.name)
        if api is not None and service.worker:
            _remove_worker(api, service)
    return ended


def _remove_worker(api: Api, service: Service) -> None:
    pool = service.name.removeprefix("worker ")
    try:
        api.call("DELETE", f"/work_pools/{pool}/workers/{quote(service.worker)}")
    except (ApiError, UserError):
        say(f"{service.worker} could not be removed from its pool at {api.page}")


def online_workers(api: Api, pool: str) -> list[str]:
    """Names of a pool's workers that are online."""
    return [name for name, online in known_workers(api, pool).items() if online]


def known_workers(api: Api, pool: str) -> dict[str, bool]:
    """All workers of a pool, and whether each is online; empty if there is no such pool."""
    try:
        workers = api.post(f"/work_pools/{pool}/workers/filter", {})
    except ApiError as error:
        if error.status == 404:
            return {}
        raise
    return {worker["name"]: worker["status"] == "ONLINE" for worker in workers}


def _start(
    started: list[Service],
    name: str,
    command: Sequence[str],
    api: Api,
    settings: Mapping[str, str] = NO_SETTINGS,
    worker: str = "",
    stdin: int = subprocess.DEVNULL,
) -> None:
    """Start one process in its own session and add it to the state file at once, so that `down` can end it."""
    log = FOLDER / f"{name.replace(' ', '-')}.log"
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        **QUIET,
        "PREFECT_API_URL": api.url,
        "PREFECT_HOME": str(own_folder(FOLDER / "prefect", allowed=OWNER_ONLY).resolve()),
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        **settings,
    }
    if api.login:
        environment[AUTH_VARIABLE] = api.login
        environment.pop(KEY_VARIABLE, None)
    with os.fdopen(open_log(log), "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    started.append(Service(name, process.pid, psutil.Process(process.pid).create_time(), str(log), worker))
    write_services(api.url, started)


def _wait(ready: Callable[[], bool], service: Service, what: str) -> None:
    """Wait until a service answers. Its end, or a timeout, is a UserError with the log's last lines."""
    end = time.monotonic() + START_SECONDS
    while not ready():
        ended = service.process() is None
        if ended or time.monotonic() > end:
            last = Path(service.log).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-8:]
            how = "ended at its start" if ended else f"did not answer within {START_SECONDS:.0f} s"
            raise UserError("\n  ".join([f"{service.name} ({what}) {how}:", *last]), f"The whole log: {service.log}")
        time.sleep(0.5)


def _answers(api: Api) -> bool:
    try:
        return api.get("/health") is True
    except (ServerDownError, ApiError):
        return False


def _quietly(action: Callable[[], Any]) -> None:
    """Run an action on a process that may have ended."""
    try:
        action()
    except psutil.NoSuchProcess:
        say("a process had ended already")
