"""Start and end server, workers and watcher on this machine.

.labelfactory/services.json lists the server's address and the started processes; their logs are beside it. A process is
identified by pid and start time, so that no other process with a reused pid is ended.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from flows.server.api import STATE_FILE, Api, ApiError, ServerDownError
from flows.server.database import read_database
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.files import write_json
from labelfactory.interrupt import COMMAND_VARIABLE
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


@dataclass(frozen=True)
class Service:
    """A process that `up` started."""

    name: str
    pid: int
    started: float  # seconds since 1970, from the system
    log: str
    worker: str = ""  # its name in the pool, if it is a worker

    def process(self) -> psutil.Process | None:
        """The process; None if it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 0.5 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if same else None


@dataclass(frozen=True)
class Services:
    """All processes that `up` started in this folder, and their server's address."""

    api: str
    services: tuple[Service, ...]


def read_services() -> Services | None:
    """Read the state file; None if there is none."""
    if not STATE_FILE.exists():
        return None
    state = json.loads(STATE_FILE.read_text(encoding="utf-8"))
    return Services(state["api"], tuple(Service(**service) for service in state["services"]))


def up(*, host: str, port: int, pools: Sequence[str], join: str = "", database: str = "") -> Services:
    """Start what is not running yet, and wait until everything answers.

    Args:
        host: address that the server listens on.
        port: its port.
        pools: pools of this machine's workers.
        join: address of another machine's server; then only workers start here.
        database: address of a PostgreSQL for server and MLflow; default: SQLite files in this folder.

    Raises:
        UserError: the port is in use, the database cannot be used, or a process ended at its start (the message
            has the end of its log).
    """
    postgres = read_database(database) if database else None
    if postgres:
        os.environ.update(postgres.password())  # for MLflow here, and for the processes below
    known = read_services()
    kept = [service for service in known.services if service.process()] if known else []
    names = {service.name for service in kept}
    own = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/api"
    url = known.api if known and "server" in names else join or own
    before = tuple(kept)
    try:
        if join:
            Api(url).get("/health")
        elif "server" not in names:
            _refuse_taken(host, port)
            if postgres:
                postgres.prepare()
                track_at(postgres.tracking)
            server = [sys.executable, "-m", "flows.server.prefect_server", "--host", host, "--port", str(port)]
            _start(kept, "server", server, url, postgres.server() if postgres else {})
            _wait(lambda: _answers(Api(url)), kept[-1], url)
        _start_workers(kept, names, url, pools, watched=not join)
    except BaseException:
        _end([service for service in kept if service not in before])
        if before:
            _write(url, before)
        else:
            STATE_FILE.unlink(missing_ok=True)
        raise
    return Services(url, tuple(kept))


def _start_workers(
    kept: list[Service], names: Container[str], url: str, pools: Sequence[str], *, watched: bool
) -> None:
    """Create the pools, start the watcher, and a worker for each pool without one."""
    api = Api(url)
    for pool in POOLS:
        api.provide("/work_pools/", {"name": pool, "type": "process", "concurrency_limit": RUNS_AT_ONCE})
    if watched and "watcher" not in names:
        _start(kept, "watcher", [sys.executable, "-m", "flows.server.watch"], url)
    for pool in pools:
        if f"worker {pool}" in names:
            continue
        worker = f"{platform.node()}-{pool}-{os.getpid()}"
        command = [sys.executable, "-m", "flows.server.worker", pool, worker]
        _start(kept, f"worker {pool}", command, url, worker=worker)
        _wait(partial(_is_online, api, pool, worker), kept[-1], f"the pool {pool}")


def _is_online(api: Api, pool: str, worker: str) -> bool:
    return worker in online_workers(api, pool)


def down() -> list[str]:
    """End what `up` started here, and the runs of its workers. Returns the names of the ended processes."""
    known = read_services()
    if known is None:
        return []
    ended = _end(known.services, Api(known.api))
    STATE_FILE.unlink()
    return ended


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
    url: str,
    settings: Mapping[str, str] = NO_SETTINGS,
    worker: str = "",
) -> None:
    """Start one process in its own session and add it to the state file at once, so that `down` can end it."""
    folder = STATE_FILE.parent
    folder.mkdir(exist_ok=True)
    log = folder / f"{name.replace(' ', '-')}.log"
    bin_folder = Path(sys.executable).parent
    environment = {
        **os.environ,
        **QUIET,
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str((folder / "prefect").resolve()),
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        **settings,
    }
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=environment,
        )
    started.append(Service(name, process.pid, psutil.Process(process.pid).create_time(), str(log), worker))
    _write(url, started)


def _write(url: str, services: Sequence[Service]) -> None:
    write_json(STATE_FILE, {"api": url, "services": [asdict(service) for service in services]})


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


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"{host}:{port} cannot be used: {error.strerror}", "Type `labelfactory up --port 4201`, or another."
            ) from None


def _quietly(action: Callable[[], Any]) -> None:
    """Run an action on a process that may have ended."""
    try:
        action()
    except psutil.NoSuchProcess:
        say("a process had ended already")
