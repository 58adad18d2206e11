"""A real PostgreSQL of its own for a test: a fresh cluster in a temporary folder, on a free port of 127.0.0.1."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from factory import free_port
from starts import starts

USER, PASSWORD = "maker", "geheim/@:1"
"""A password as people choose them: each of its signs means something in an address."""
SYSTEM_USER = "postgres"


@dataclass(frozen=True)
class Postgres:
    """A running cluster."""

    port: int
    folder: Path

    def address(self, name: str, password: str = PASSWORD) -> str:
        """A database's address, password and all."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{name}"

    def ask(self, name: str, sql: str) -> list[str]:
        """The rows of an answer, columns separated by `|`, through PostgreSQL's own client."""
        words = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", name, "-AtX", "-c", sql]
        done = subprocess.run(
            words, env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def make(self, name: str) -> str:
        """A new database; gives its address."""
        self.ask("postgres", f"CREATE DATABASE {name}")
        return self.address(name)


@starts("starts_postgres")
@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a cluster; at the end nothing of it is left. Skips, and says so, where PostgreSQL is not installed."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # pytest's own is closed to other users, and too long for a socket
    other = _other_user()
    if other:
        shutil.chown(folder, other)
    port = free_port()
    secret = folder / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data, log = str(folder / "data"), str(folder / "log")
    login = ["-U", USER, "-A", "scram-sha-256", f"--pwfile={secret}"]
    settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=200"
    try:
        _call(folder, other, programs / "initdb", "-D", data, *login, "--no-sync")
        _call(folder, other, programs / "pg_ctl", "-D", data, "-o", settings, "-l", log, "-w", "-t", "120", "start")
        try:
            yield Postgres(port, folder)
        finally:
            _call(folder, other, programs / "pg_ctl", "-D", data, "-w", "-t", "60", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Debian puts the server's programs where no PATH leads."""
    found = [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).parent)
    if not found:
        message = "PostgreSQL is not installed (apt install postgresql): the database is not tested"
        print(message, file=sys.stderr)
        pytest.skip(message)
    return found[-1]


def _other_user() -> str:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    if os.geteuid() != 0:
        return ""
    try:
        return pwd.getpwnam(SYSTEM_USER).pw_name
    except KeyError:
        pytest.skip(f"PostgreSQL refuses to run as root, and there is no user {SYSTEM_USER}")


def _call(folder: Path, other: str, *words: object) -> None:
    prefix = ["/sbin/runuser", "-u", other, "--"] if other else []  # PATH does not lead there everywhere
    with (folder / "said").open("a+") as said:  # not a pipe: the server would keep it open
        done = subprocess.run([*prefix, *map(str, words)], cwd=folder, stdout=said, stderr=said, timeout=200)
        said.seek(0)
        assert done.returncode == 0, said.read()
