"""A bucket on a real S3 server on loopback, and the machines that share it: folders, each a project of its own."""

import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from made_line import MadeLine
from pushed_line import go_to_wiring

from labelfactory.dataset.manifest import read_manifest, write_manifest

S3_WARNINGS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # DVC's and botocore's own, about libraries that they use
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # s3fs leaves its connections to the end of the process
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""For the `pytestmark` of a file whose tests push and pull: it is libraries that warn."""
BUCKET = "store"


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of an S3 server that keeps everything in memory."""
    from moto.server import ThreadedMotoServer  # takes a second

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def empty_bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, and credentials for it in the environment. Gives DVC's settings of the remote."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for call_ in (("POST", "/moto-api/reset"), ("PUT", f"/{BUCKET}")):
        urllib.request.urlopen(urllib.request.Request(server + call_[1], method=call_[0]), timeout=30).close()
    return f'[remote "store"]\n    url = s3://{BUCKET}/project\n    endpointurl = {server}\n'


def dvc_here(remote: str) -> None:
    """Make the current folder a DVC project with this remote."""
    Path(".dvc").mkdir(exist_ok=True)
    core = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
    Path(".dvc/config").write_text(core + ("    remote = store\n" + remote if remote else ""))


def run(made: MadeLine, **changes: str) -> None:
    """The line once more, with all that dvc.yaml names."""
    made.run(commit=False, **changes)
    made.complete()


def first_machine(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadeLine:
    """A line that was run in a folder, with true masks for none; the last photograph lies outside of the project.

    The test goes to that folder; its remote is the bucket.
    """
    (tmp_path / "first").mkdir()
    monkeypatch.chdir(tmp_path / "first")
    made = MadeLine()
    manifest = read_manifest()
    *others, last = manifest.entries
    outside = tmp_path / "elsewhere" / "last.png"
    outside.parent.mkdir()
    shutil.move(last.path, outside)
    write_manifest(replace(manifest, entries=(*others, replace(last, path=str(outside)))))
    run(made)
    dvc_here(bucket)
    return made


def go_to_other_machine(made: MadeLine, bucket: str, folder: Path) -> Path:
    """Go to another machine: a folder with the project's wiring and nothing else."""
    go_to_wiring(made, folder)
    dvc_here(bucket)
    return folder


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server, monkeypatch) -> str:
    """DVC's settings of an empty bucket."""
    return empty_bucket(server, monkeypatch)


@pytest.fixture
def made(bucket, tmp_path, monkeypatch) -> MadeLine:
    """The first machine."""
    return first_machine(bucket, tmp_path, monkeypatch)


@pytest.fixture
def other(made, bucket, tmp_path) -> Callable[[], Path]:
    """Go to the second machine."""
    return partial(go_to_other_machine, made, bucket, tmp_path / "second")
