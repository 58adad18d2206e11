"""DVC and the engine agree: an older commit brings its shards, a remote restores a clone, and `dvc repro` runs nothing."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from chaos import contents
from moto.server import ThreadedMotoServer
from small_line import ran
from workspace import ROOT, call, copy_workspace, make_workspace

from benchmarks.scale import PARAMS, WIRING

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *IDENTITY, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, message: str) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", message)
    return git(folder, "rev-parse", "HEAD").strip()


def small_line(folder: Path) -> Path:
    """The line with two stages that compute nothing in the place of the networks: what is asked here is DVC and the engine."""
    make_workspace(folder, git=True)
    for name in ("extract_cams", "refine_crf"):
        shutil.copyfile(ROOT / f"benchmarks/scale_stages/{name}.py", folder / f"stages/{name}.py")
    (folder / "dvc.yaml").write_text(WIRING)
    (folder / "params.yaml").write_text(PARAMS.replace("shard_size: 256", "shard_size: 4"))
    return folder


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> tuple[Path, str, str]:
    """A project in two commits: the second has other CAMs, and two images more. The import is tracked by DVC too."""
    folder = small_line(tmp_path_factory.mktemp("dvc") / "project")
    call(folder, "labelfactory", "import", "demo", "--count", "16")
    call(folder, "dvc", "add", "-q", "data/import", "data/corrections")
    call(folder, "dvc", "repro")
    first = commit(folder, "Sixteen images")
    call(folder, "labelfactory", "import", "demo", "--append", "--count", "18")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("extract_cams: {seed: 0}", "extract_cams: {seed: 1}"))
    call(folder, "dvc", "repro")
    return folder, first, commit(folder, "Other CAMs of eighteen")


def cams(folder: Path) -> dict[str, bytes]:
    return contents(folder / "data/cams")


def test_an_older_commit_brings_its_shards_and_back(history):
    """There and back DVC runs nothing; the engine, asked by force, computes nothing."""
    original, first, second = history
    folder = copy_workspace(original, original.parent / "travels")
    new = cams(folder)
    git(folder, "checkout", "-q", first)
    call(folder, "dvc", "checkout", "-q")
    old = cams(folder)
    assert old.keys() <= new.keys()
    assert all(old[name] != new[name] for name in old)
    assert ran(call(folder, "dvc", "repro"), folder) == []
    git(folder, "checkout", "-q", second)
    call(folder, "dvc", "checkout", "-q")
    assert cams(folder) == new
    assert ran(call(folder, "dvc", "repro"), folder) == []
    call(folder, "dvc", "repro", "--force", "--single-item", "extract_cams")
    made = json.loads((folder / "data/reports/extract_cams.json").read_text())
    assert (made["rows_computed"], made["shards_written"]) == (0, 0)
    assert cams(folder) == new


def test_a_reworded_message_asks_every_stage_and_computes_nothing(history):
    """DVC's deps are as wide as folders; `status` says beforehand what keys then find, and its cost is nothing."""
    folder = copy_workspace(history[0], history[0].parent / "reworded")
    before = cams(folder)
    for name, old, new in (
        ("labelfactory/rows/engine.py", "every row is up to date", "there is nothing to do"),
        ("labelfactory/dataset/images.py", "EXIF orientation applied", "orientation applied"),
    ):
        path = folder / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    said = call(folder, "labelfactory", "status")
    assert said.count("asked again, nothing to do") == 3
    assert "`labelfactory run` asks 3 of 3 stages again; nothing is to be done." in said
    assert len(ran(call(folder, "dvc", "repro"), folder)) == 3
    for name in ("extract_cams", "refine_crf"):
        made = json.loads((folder / f"data/reports/{name}.json").read_text())
        assert (made["rows_computed"], made["shards_written"]) == (0, 0)
    assert cams(folder) == before
    assert "Everything is up to date." in call(folder, "labelfactory", "status")


def restored(folder: Path, clone: Path) -> None:
    """A fresh clone pulls and has nothing to do; its shards are the same bytes, and the engine would copy every row."""
    git(folder.parent, "clone", "-q", str(folder), str(clone))
    assert not (clone / "data/cams").exists()
    call(clone, "dvc", "pull", "-q")
    assert cams(clone) == cams(folder)
    assert contents(clone / "data/corrections") == contents(folder / "data/corrections") != {}
    assert ran(call(clone, "dvc", "repro"), clone) == []


def test_a_folder_as_remote_restores_a_clone(history, tmp_path):
    """`dvc push`, `git clone`, `dvc pull`."""
    folder = copy_workspace(history[0], tmp_path / "project")
    call(folder, "dvc", "remote", "add", "-d", "store", str(tmp_path / "store"))
    commit(folder, "A remote")
    call(folder, "dvc", "push", "-q")
    held = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert len(held) > len(cams(folder))
    restored(folder, tmp_path / "clone")


@pytest.fixture
def bucket(monkeypatch) -> Iterator[str]:
    """A bucket of a real S3 server on this machine. Gives the server's address."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="labels")
    yield address
    server.stop()


def test_s3_as_remote_restores_a_clone(history, tmp_path, bucket):
    """The same through S3's protocol; the bucket holds every shard."""
    folder = copy_workspace(history[0], tmp_path / "project")
    call(folder, "dvc", "remote", "add", "-d", "store", "s3://labels/line")
    call(folder, "dvc", "remote", "modify", "store", "endpointurl", bucket)
    commit(folder, "A remote")
    call(folder, "dvc", "push", "-q")
    held = boto3.client("s3", endpoint_url=bucket).list_objects_v2(Bucket="labels")["KeyCount"]
    assert held > len(cams(folder))
    restored(folder, tmp_path / "clone")
