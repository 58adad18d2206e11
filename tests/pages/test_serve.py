"""`labelfactory serve` as a person starts it: its address, who may read, how it ends, and what is wrong in two lines."""

import base64
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_line import MadeLine
from warm_python import warm_python
from workspace import ROOT

from lineage.record import record

pytestmark = [pytest.mark.slow, pytest.mark.starts_server, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A line that was made and recorded."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("serve"))
    try:
        MadeLine()
        record()
        return Path.cwd()
    finally:
        os.chdir(before)


def command(folder: Path, *words: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "LABELFACTORY_DEVICE": "cpu"}
    environment.pop("LABELFACTORY_TOKEN", None)
    program = [warm_python() / "python", "-c", "from app.main import main; main()", "serve", *words]
    return subprocess.Popen(
        program, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@contextmanager
def serving(folder: Path, *words: str, ended_by: int = signal.SIGINT) -> Iterator[str]:
    """A server on a free port, from its first line on; it ends as a person ends it, with code 0 and without a word."""
    process = command(folder, "--port", "0", *words)
    try:
        line = process.stdout.readline()
        yield re.search(r"http://\S+", line).group()
        process.send_signal(ended_by)
        said = process.communicate(timeout=120)[0]
        assert (process.returncode, "Traceback" in said) == (0, False), said
    finally:
        process.kill()
        process.communicate()


def get(address: str, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(address, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_sigterm_ends_it_like_ctrl_c(folder):
    """As a service manager ends it."""
    with serving(folder, ended_by=signal.SIGTERM) as address:
        assert get(address)[0] == 200


def test_it_serves_this_machine_and_ends(folder):
    """Without a token, on 127.0.0.1 alone, under no other name."""
    with serving(folder) as address:
        assert address.startswith("http://127.0.0.1:")
        status, page = get(address)
        assert (status, "refine_crf" in page) == (200, True)
        assert get(f"{address}images")[0] == 200
        assert get(address, Host="evil.example")[0] == 403
        port = int(address.rsplit(":", 1)[1].strip("/"))
        with socket.socket() as other, pytest.raises(OSError, match="refused"):
            other.connect(("127.0.0.2", port))


def test_another_host_asks_for_a_token(folder):
    """A new one each time; its address opens the door, nothing else does."""
    with serving(folder, "--host", "0.0.0.0") as address:
        token, place = re.fullmatch(r"http://labelfactory:([\w-]{20,})@0\.0\.0\.0:(\d+)/enter", address).groups()
        here = f"http://127.0.0.1:{place}/models"
        assert get(here)[0] == 401
        assert get(f"{here}?token={token}x")[0] == 401
        assert get(here, Authorization=f"Bearer {token}")[0] == 200
        assert get(f"{here}?token={token}")[0] == 401
        login = base64.b64encode(f"labelfactory:{token}".encode()).decode()
        assert get(here, Authorization=f"Basic {login}")[0] == 200
        assert get(here, Authorization=f"Basic {login}x")[0] == 401


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "192.0.2.1"), "192.0.2.1:"),
        (("--token", "a b"), "letters, digits"),
        (("--mlflow", "nowhere"), "--mlflow 'nowhere' must begin with http"),
    ],
)
def test_what_is_wrong_is_said(folder, words, said):
    """Exit code 2, the problem, and what to type."""
    process = command(folder, "--port", "0", *words)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 2, output
    assert said in output
    assert "Traceback" not in output
    assert len(output[output.index("error: ") :].strip().splitlines()) == 2


def test_a_port_that_is_taken_is_said(folder, tmp_path):
    """And so is a folder that is no project."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = command(folder, "--port", str(taken.getsockname()[1]))
        assert "Name another one" in process.communicate(timeout=300)[0]
        assert process.returncode == 2
    process = command(tmp_path)
    assert "project's root folder" in process.communicate(timeout=300)[0]
    assert process.returncode == 2
