"""A bucket that machines share, on a real S3 server on loopback: what one pushed, another pulls and goes on with."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from s3fs import S3FileSystem
from shared_bucket import BUCKET, S3_WARNINGS, bucket, dvc_here, made, other, run, server
from workspace import call, make_workspace

from flows.line import storage
from flows.line.storage import Moved, pull, push
from labelfactory.dataset.account import ACCOUNT
from labelfactory.dataset.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.errors import DataError, NewerFormatError, UserError

pytestmark = [pytest.mark.slow, *S3_WARNINGS]
__all__ = ["bucket", "made", "other", "server"]


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
    ACCOUNT.parent.mkdir(parents=True)
    ACCOUNT.write_text("{}")  # of what was imported here before
    assert pull().pictures == 4
    assert not ACCOUNT.exists()
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


@pytest.mark.parametrize("newer", [False, True])
def test_a_push_mends_a_damaged_manifest_and_replaces_no_newer_one(made, server, monkeypatch, newer):
    """What a newer labelfactory wrote may hold what this one cannot see."""
    push()
    bucket = Bucket(server)
    if newer:
        here = read_manifest()
        with monkeypatch.context() as later:
            later.setattr("labelfactory.dataset.manifest.FORMAT", 99)
            bucket.put_manifest(here, made.root)
        with pytest.raises(NewerFormatError):
            push()
    else:
        bucket.put("labelfactory/manifest.parquet", b"damaged")
        push()
        assert bucket.fs.cat_file(f"{BUCKET}/project/labelfactory/manifest.parquet") == MANIFEST.read_bytes()


def test_a_list_of_files_that_a_killed_push_left_is_sent_again(made, other, tmp_path):
    """In a folder that serves as remote, where DVC writes such a list in place."""
    dvc_here(f'[remote "store"]\n    url = {tmp_path / "remote"}\n')
    push()
    lists = sorted((tmp_path / "remote").rglob("*.dir"))
    whole = {path: path.read_bytes() for path in lists}
    for path in (lists[0], lists[-1]):
        path.chmod(0o644)
        path.write_bytes(whole[path][:20])
    shutil.rmtree(".dvc/tmp", ignore_errors=True)  # DVC's memory of what the remote holds
    push()
    assert {path: path.read_bytes() for path in lists} == whole


@pytest.mark.parametrize("place", [".", "data", "code/remote", "a link", "labelfactory of a remote above"])
def test_nothing_is_pushed_into_the_project(made, tmp_path, place):
    """Played: `dvc remote add -d store .`, after which the package `labelfactory` got the remote's folders, and so did a link."""
    (tmp_path / "a link").symlink_to(made.root)
    url = {"a link": tmp_path / "a link/more"}.get(place, made.root / place)
    if place.startswith("labelfactory"):
        made.root.rename(tmp_path / "labelfactory")
        os.chdir(tmp_path / "labelfactory")
        url = tmp_path
    before = sorted(Path().rglob("*"))
    dvc_here(f'[remote "store"]\n    url = {url}\n')
    with pytest.raises(UserError, match="is this project's own folder, or lies in it") as caught:
        push()
    assert caught.value.remedy == "Name another folder: `dvc remote modify store url FOLDER`."
    assert {path for path in set(Path().rglob("*")) - set(before) if path.parts[0] not in (".dvc", "data")} == set()
    assert not Path("labelfactory").exists()


def test_images_of_the_same_bytes_are_all_written(made, other):
    """Sent once, fetched once, written to each path."""
    manifest = read_manifest()
    first, second, *others = manifest.entries
    shutil.copyfile(first.path, second.path)
    write_manifest(replace(manifest, entries=(first, replace(second, sha256=first.sha256), *others)))
    assert push().pictures == 3
    folder = other()
    assert pull().pictures == 2  # the last one lies outside of the project, where this machine has it
    assert (folder / first.path).read_bytes() == (folder / second.path).read_bytes()


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


# --- a bucket that somebody else can write to -------------------------------------------------------------------------


class Bucket:
    """What an intruder does in the bucket."""

    def __init__(self, server: str) -> None:
        self.fs = S3FileSystem(endpoint_url=server)

    def put(self, name: str, data: bytes) -> None:
        """Replace an object of the project."""
        self.fs.pipe_file(f"{BUCKET}/project/{name}", data)

    def store(self, data: bytes, suffix: str = "") -> str:
        """Add an object as DVC does; gives its MD5."""
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() + suffix
        self.put(f"files/md5/{md5[:2]}/{md5[2:]}", data)
        return md5

    def put_manifest(self, manifest: Manifest, folder: Path) -> None:
        """Replace the manifest."""
        write_manifest(manifest, folder / "hostile.parquet")
        self.put("labelfactory/manifest.parquet", (folder / "hostile.parquet").read_bytes())

    def put_lock(self, stage: str, **changes: object) -> None:
        """Replace dvc.lock by one whose first output of a stage is another."""
        lock = yaml.safe_load(self.fs.cat_file(f"{BUCKET}/project/labelfactory/dvc.lock"))
        lock["stages"][stage]["outs"][0] |= changes
        self.put("labelfactory/dvc.lock", yaml.safe_dump(lock).encode())


@pytest.fixture
def intruder(made, server) -> Bucket:
    """The bucket after a push."""
    push()
    return Bucket(server)


CODE = "print('the code of others')\n"
TARGETS = [
    "stages/prepare.py",
    "dvc.yaml",
    "params.yaml",
    ".dvc/config",
    ".git/hooks/post-checkout",
    "data/ledger/00000001-masks.parquet",
    "data/ledger/HEAD",
    "data/mlflow/mlflow.db",
    "data/masks/shard-00000.parquet",
    "data/import/left_out.json",
    "data/raw/x/dvc.yaml",
    "data/raw/../../stages/prepare.py",
    "data/raw/link/prepare.py",
]


def test_no_manifest_makes_pull_write_code_or_records(intruder, other, tmp_path):
    """As photographs and as a mask: the bytes come into data/raw/pulled, and the files that were named stay as they were."""
    manifest = read_manifest()
    first, *others = manifest.entries
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    intruder.put(f"labelfactory/pictures/{digest[:2]}/{digest}", CODE.encode())
    hostile = [
        replace(first, image_id=f"x{k}", path=target, sha256=digest, position=100 + k)
        for k, target in enumerate(TARGETS)
    ]
    masked = replace(first, mask_path=TARGETS[0], mask_sha256=digest)
    intruder.put_manifest(replace(manifest, entries=(masked, *others, *hostile)), tmp_path)
    folder = other()
    (folder / "stages").mkdir()
    (folder / "stages/prepare.py").write_text("ours")
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/link").symlink_to(folder / "stages")
    pull()
    pulled = f"data/raw/pulled/{digest}"
    entries = read_manifest().entries
    assert {entry.path for entry in entries if entry.sha256 == digest} == {entries[0].mask_path} == {pulled}
    assert [p for p in folder.rglob("*") if p.is_file() and p.read_bytes() == CODE.encode()] == [folder / pulled]
    assert (folder / "stages/prepare.py").read_text() == "ours"


def test_a_lock_names_outputs_of_dvc_yaml(intruder, other):
    """Before it is written; the error has two parts."""
    intruder.put_lock("refine_crf", path="stages/prepare.py")
    folder = other()
    with pytest.raises(DataError, match=r"dvc\.lock: .*'stages/prepare\.py' is not in dvc\.yaml") as caught:
        pull()
    assert "labelfactory push" in caught.value.remedy
    assert not (folder / "dvc.lock").exists()
    assert not (folder / "data/masks").exists()


@pytest.mark.parametrize("own_lock", [False, True])
def test_a_list_of_files_stays_inside_of_its_output(intruder, other, own_lock):
    """DVC would write each file where the list says, also under a lock that came with the clone."""
    listing = [{"relpath": "../../stages/prepare.py", "md5": intruder.store(CODE.encode())}]
    intruder.put_lock("refine_crf", md5=intruder.store(json.dumps(listing).encode(), ".dir"))
    folder = other()
    (folder / "stages").mkdir()
    if own_lock:
        (folder / "dvc.lock").write_bytes(intruder.fs.cat_file(f"{BUCKET}/project/labelfactory/dvc.lock"))
    with pytest.raises(DataError, match=r"data/masks: the list of its files, .* is not a name of a file in it"):
        pull()
    assert not [p for p in folder.rglob("*") if p.is_file() and p.read_bytes() == CODE.encode()]


def test_other_bytes_under_an_md5_are_refused(intruder, other):
    """A list of files, and a file of an output: neither comes into the project."""
    lock = yaml.safe_load(Path("dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}
    listed = outs["data/masks"]
    honest = intruder.fs.cat_file(f"{BUCKET}/project/files/md5/{listed[:2]}/{listed[2:]}")
    intruder.put(f"files/md5/{listed[:2]}/{listed[2:]}", b"[]")
    folder = other()
    with pytest.raises(DataError, match=r"data/masks: the list of its files, .*: is damaged"):
        pull()
    intruder.put(f"files/md5/{listed[:2]}/{listed[2:]}", honest)
    md5 = json.loads(honest)[0]["md5"]
    intruder.put(f"files/md5/{md5[:2]}/{md5[2:]}", CODE.encode())
    with pytest.raises(DataError, match="files of outputs are missing in the remote, or damaged") as caught:
        pull()
    assert "data/masks" in caught.value.problem
    assert not [p for p in folder.rglob("*") if p.is_file() and p.read_bytes() == CODE.encode()]


def test_a_manifest_that_is_none_leaves_the_one_that_is_here(intruder, other, monkeypatch):
    """Garbage, a digest that is a path, and an object that has no end."""
    good = MANIFEST.read_bytes()
    intruder.put("labelfactory/manifest.parquet", b"PAR1 no")
    other()
    MANIFEST.parent.mkdir(parents=True)
    MANIFEST.write_bytes(good)
    with pytest.raises(DataError, match=r"labelfactory/manifest\.parquet: is damaged") as caught:
        pull()
    assert "labelfactory push" in caught.value.remedy
    manifest = read_manifest()
    first, *others = manifest.entries
    intruder.put_manifest(replace(manifest, entries=(replace(first, sha256="../../x"), *others)), Path.cwd())
    with pytest.raises(DataError, match=r"'\.\./\.\./x' is not a SHA-256"):
        pull()
    intruder.put("labelfactory/manifest.parquet", good)
    monkeypatch.setattr(storage, "LARGEST_PICTURE", 10)
    with pytest.raises(DataError, match="larger than 0 MiB"):
        pull()
    assert MANIFEST.read_bytes() == good
    assert not (Path("data/raw")).exists()
