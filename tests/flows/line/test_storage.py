"""A bucket that machines share, on a real S3 server on loopback: what one pushed, another pulls and goes on with."""

import hashlib
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from made_line import MadeLine
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from workspace import call, make_workspace

from flows.line.storage import Moved, pull, push
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.errors import DataError, UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # DVC's and botocore's own, about libraries that they use
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # s3fs leaves its connections to the end of the process
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BUCKET = "store"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server that keeps everything in memory."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture
def bucket(server, monkeypatch) -> str:
    """An empty bucket, and credentials for it in the environment."""
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
    """The line once more, with all that dvc.yaml names; its lock as DVC 3 writes it."""
    made.run(commit=False, **changes)
    for stage in yaml.safe_load(Path("dvc.yaml").read_text())["stages"].values():
        for out in (next(iter(o)) if isinstance(o, dict) else o for o in stage["outs"] + stage["metrics"]):
            place = Path(out) if Path(out).suffix else Path(out, "file")
            place.parent.mkdir(parents=True, exist_ok=True)
            if not Path(out).exists():
                place.write_text("{}")
    made.commit()
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    for stage in lock["stages"].values():
        for out in stage["outs"]:
            out["hash"] = "md5"
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))


@pytest.fixture
def made(bucket, tmp_path, monkeypatch) -> MadeLine:
    """A line that was run here, with true masks for none; the last photograph lies outside of the project."""
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


@pytest.fixture
def other(made, bucket, tmp_path):
    """Go to another machine: a folder with the project's wiring and nothing else."""

    def go(name: str = "second") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for wiring in ("dvc.yaml", "params.yaml"):
            shutil.copyfile(made.root / wiring, folder / wiring)
        os.chdir(folder)
        dvc_here(bucket)
        return folder

    return go


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 by path of all outputs, raw pictures and dvc.lock."""
    files = [p for p in (folder / "data").rglob("*") if p.is_file() and "import" not in p.parts] + [folder / "dvc.lock"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_what_one_machine_pushed_another_pulls(made, other, tmp_path):
    """Outputs, lock, photographs: the same bytes. What lay outside comes into the project, and the manifest says where."""
    first = push()
    assert first.pictures == 4
    assert first.outputs > 10
    folder = other()
    (tmp_path / "elsewhere/last.png").unlink()
    assert pull().pictures == 4
    here, there = contents(folder), contents(made.root)
    fetched = [path for path in here if path.startswith("data/raw/pulled/")]
    assert {path: digest for path, digest in here.items() if path not in fetched} == there
    last = read_manifest().entries[-1]
    assert [last.path] == fetched
    assert here[last.path] == last.sha256
    assert pull() == Moved(0, 0)


def test_nothing_is_sent_twice(made):
    """A second push sends nothing; after a change, that alone."""
    push()
    assert push() == Moved(0, 0)
    run(made, refine_crf="changed")
    again = push()
    assert again.pictures == 0
    assert 0 < again.outputs < 20


def test_a_clone_with_a_lock_of_its_own_keeps_it(made, other):
    """What git says of the line counts more than what was pushed last."""
    push()
    before = Path("dvc.lock").read_bytes()
    run(made, refine_crf="changed")
    push()
    other()
    Path("dvc.lock").write_bytes(before)
    pull()
    assert Path("dvc.lock").read_bytes() == before


def test_a_manifest_leads_nowhere_outside_of_the_project(made, other, tmp_path):
    """A path with `..` is not followed when others' photographs are written."""
    manifest = read_manifest()
    first, *others = manifest.entries
    shutil.copyfile(first.path, tmp_path / "up.png")
    write_manifest(replace(manifest, entries=(replace(first, path="../up.png"), *others)))
    push()
    (tmp_path / "up.png").unlink()
    other()
    pull()
    assert not (tmp_path / "up.png").exists()
    assert read_manifest().entries[0].path.startswith("data/raw/pulled/")


def test_damage_is_found_and_nothing_half_is_left(made, other, server):
    """An object with other bytes, and one that is gone: named, with what to type; the file is not written."""
    push()
    entry = read_manifest().entries[0]
    place = f"{BUCKET}/project/labelfactory/pictures/{entry.sha256[:2]}/{entry.sha256}"
    bucket = S3FileSystem(endpoint_url=server)
    bucket.pipe_file(place, b"other bytes")
    other()
    with pytest.raises(DataError, match=r"image-0\.png is damaged"):
        pull()
    assert not Path(entry.path).exists()
    bucket.rm_file(place)
    with pytest.raises(DataError, match=r"image-0\.png is missing") as caught:
        pull()
    assert "labelfactory push" in caught.value.remedy


def test_what_stands_in_the_way_is_an_error_of_two_parts(made, other):
    """No remote; a bucket where nothing was pushed; a photograph that was changed since its import."""
    config = Path(".dvc/config").read_text()
    dvc_here("")
    with pytest.raises(UserError, match="no remote") as caught:
        push()
    assert "dvc remote add -d store s3://" in caught.value.remedy
    Path(".dvc/config").write_text(config)
    Path(read_manifest().entries[0].path).write_bytes(b"changed")
    with pytest.raises(DataError, match="changed since it was imported"):
        push()
    other()
    with pytest.raises(DataError, match="nothing was pushed"):
        pull()
    assert not MANIFEST.exists()


def test_another_clone_goes_on_as_if_it_had_made_it(bucket, imported, tmp_path):
    """By the commands, on a project that really ran: after `pull`, `run` finds everything up to date."""
    folder = imported
    clone = make_workspace(tmp_path / "clone", git=True)
    shutil.copyfile(folder / "params.yaml", clone / "params.yaml")
    for place in (folder, clone):
        with (place / ".dvc/config").open("a") as config:
            config.write("    remote = store\n" + bucket)
    call(folder, "labelfactory", "run", "prepare")
    assert "pushed: " in call(folder, "labelfactory", "push")
    assert "pulled: " in call(clone, "labelfactory", "pull")
    assert "everything is up to date" in call(clone, "labelfactory", "run", "prepare")
    made, found = (json.loads((p / "data/reports/prepare.json").read_text()) for p in (folder, clone))
    assert made == found
