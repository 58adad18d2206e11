"""What `labelfactory up` started in this folder: .labelfactory/services.json, the server's address and the processes.

A process is identified by pid and start time, so that no other process with a reused pid is ended.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import psutil
from pydantic import Field

from flows.server.private_files import FOLDER, read_private, write_private
from labelfactory.json_files import read_content

STATE_FILE = FOLDER / "services.json"
Address = Annotated[str, Field(pattern=r"^https?://[!-~]+$")]
Pid = Annotated[int, Field(gt=0, lt=1 << 31)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Service:
    """A process that `up` started."""

    name: str
    pid: Pid
    started: Seconds  # since 1970, from the system
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

    api: Address
    services: tuple[Service, ...]

    def alive(self) -> tuple[Service, ...]:
        """Those that still run."""
        return tuple(service for service in self.services if service.process())

    @property
    def server(self) -> Service | None:
        """The server; None where only workers for another machine's server were started."""
        return next((service for service in self.services if service.name == "server"), None)

    @property
    def is_up(self) -> bool:
        """Whether the server runs, or one of the workers for another machine's."""
        return bool(self.server.process()) if self.server else bool(self.alive())


def read_services() -> Services | None:
    """Read the state file; None if there is none.

    Raises:
        UserError: it is damaged, or another user could have written it.
    """
    content = read_private(STATE_FILE)
    if content is None:
        return None
    remedy = f"End what an earlier `labelfactory up` left running (`pgrep -af flows.server` lists it), and delete {STATE_FILE}."
    services: Services = read_content(STATE_FILE, content, Services, remedy, strict=True)
    return services


def write_services(api: str, services: Sequence[Service]) -> None:
    """Write the state file."""
    state = {"api": api, "services": [asdict(service) for service in services]}
    write_private(STATE_FILE, f"{json.dumps(state, indent=2)}\n")
