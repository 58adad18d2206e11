"""A small project with a real Prefect server and worker on loopback, for tests that watch a run through its API."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from databases import with_databases
from starts import require, starts
from workspace import call

from flows.server.api import Api
from labelfactory.dataset.manifest import read_manifest, write_manifest

PATIENCE_SECONDS = 600
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SETTINGS = {"LABELFACTORY_RETRY_SECONDS": "1", "PREFECT_WORKER_QUERY_SECONDS": "4"}
"""Environment of workers and watcher: a crashed stage is tried once more after a second, and workers ask more often."""
QUICK_BEATS = {**SETTINGS, "LABELFACTORY_HEARTBEAT_SECONDS": "5"}
"""Where a test waits for the watcher: a run is dead after 30 s of silence, which on a busy machine befalls the living too."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def one_image_a_shard(folder: Path) -> None:
    """Give the images positions 256 apart: few images, many shards, as a large set has them."""
    path = folder / "data/import/manifest.parquet"
    manifest = read_manifest(path)
    spread = tuple(replace(entry, position=256 * k) for k, entry in enumerate(manifest.entries))
    write_manifest(replace(manifest, entries=spread), path)


@starts("starts_server")
class Factory:
    """The project, its server, and its worker for the pool cpu. The first `up` starts them, `down` ends them."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = SETTINGS) -> None:
        self.folder, self.environment, self.port = folder, dict(environment), free_port()

    @property
    def api(self) -> Api:
        """The server, with the login that `up` made, as long as it is there."""
        return Api(f"http://127.0.0.1:{self.port}/api", self.login)

    @property
    def login(self) -> str:
        """The login that `up` made; empty before and afterwards, and with a login in the environment."""
        path = self.folder / ".labelfactory/login"
        return path.read_text().strip() if path.exists() else ""

    def type(self, *words: str, code: int = 0) -> str:
        """What a person types in the project."""
        if "--runner" in words:
            require("starts_cluster")
        before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            return call(self.folder, "labelfactory", *words, code=code)
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    def up(self) -> str:
        """Start what is not running."""
        return self.type("up", "--port", str(self.port))

    def pid(self, service: str) -> int:
        """The process of a service."""
        held = json.loads((self.folder / ".labelfactory/services.json").read_text())
        return next(s["pid"] for s in held["services"] if s["name"] == service)

    def log(self, service: str) -> str:
        """What a service has printed."""
        return (self.folder / f".labelfactory/{service.replace(' ', '-')}.log").read_text()

    def run(self, *words: str) -> str:
        """`labelfactory run … --on cpu`. Returns the run's id."""
        return self.type("run", *words, "--on", "cpu").strip().rsplit("/", 1)[-1]

    def read(self, run: str) -> dict[str, Any]:
        """The run as the server sees it."""
        found: dict[str, Any] = self.api.get(f"/flow_runs/{run}")
        return found

    def wait(self, run: str, types: tuple[str, ...] = FINAL) -> dict[str, Any]:
        """The run once its state is one of these."""
        wait_until(lambda: self.read(run)["state"]["type"] in types, lambda: self.log("worker cpu")[-3000:])
        return self.read(run)

    def tasks(self, run: str) -> dict[str, dict[str, Any]]:
        """The task runs of a run that has ended, by name, the newest of each.

        The server writes down what became of them every five seconds, so at times after the run's end.
        """
        found: dict[str, dict[str, Any]] = {}

        def ended() -> bool:
            asked = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
            found.update((task["name"], task) for task in self.api.post("/task_runs/filter", asked))
            return all(task["state"]["type"] in FINAL for task in found.values())

        wait_until(ended, lambda: str(found), seconds=60)
        return found

    def artifacts(self, run: str) -> dict[str, Any]:
        """Its artifacts' content by key."""
        found = self.api.post("/artifacts/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return {artifact["key"]: artifact["data"] for artifact in found}


@contextmanager
def serving(folder: Path, environment: Mapping[str, str] = SETTINGS) -> Iterator[Factory]:
    """A project with server and worker up and its flows deployed; at the end nothing of it runs."""
    factory = Factory(with_databases(folder), environment)
    try:
        factory.up()
        factory.type("deploy")
        yield factory
    finally:
        factory.type("down")
        assert running_in(folder) == []


def wait_until(ready: Callable[[], Any], said: Callable[[], str] = str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it is so; `said` tells why it is not."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited in vain\n{said()}"
        time.sleep(0.5)  # each look costs the server, or a walk over all processes


def running_in(folder: Path, word: str = "") -> list[int]:
    """Processes whose current folder is the project and whose command line holds the word."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and word in " ".join(process.cmdline()):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it ended while we looked
            continue
    return found
