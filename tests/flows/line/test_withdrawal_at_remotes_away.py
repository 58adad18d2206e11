"""A withdrawal is not complete while a remote that has something of the project is away, renamed, or filled by other ways."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from dvc.repo import Repo
from made_line import MadeLine
from pushed_line import contents, dvc_here, no_mlflow, pushed_line, run, withdraw

from app.storage import pull, push
from flows.line.known_remotes import KNOWN
from flows.line.shared_import import LAST_SHARED
from flows.line.withdrawals import sign
from labelfactory.dataset.manifest import read_manifest, write_manifest
from labelfactory.digests import digest_file
from labelfactory.errors import UserError
from lineage.ledger import Ledger
from lineage.record import record
from lineage.verify import verify
from lineage.withdrawals import open_withdrawals, read_withdrawals

pytestmark = pytest.mark.slow
__all__ = ["no_mlflow"]


@pytest.fixture
def remote(tmp_path) -> Path:
    return tmp_path / "disk" / "remote"


@pytest.fixture
def made(remote, tmp_path, monkeypatch) -> MadeLine:
    """A line whose remote is on a disk."""
    monkeypatch.chdir(tmp_path)
    remote.parent.mkdir()
    return pushed_line(remote, tmp_path / "project")


@pytest.fixture
def unpushed(tmp_path, monkeypatch) -> MadeLine:
    """A line that `labelfactory push` has never sent."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    made = MadeLine()
    run(made)
    run(made, refine_crf="second")
    return made


def give_mask(image_id: str, content: bytes) -> str:
    """Give an image of the import a true mask; gives its digest."""
    digest, path = hashlib.sha256(content).hexdigest(), f"data/raw/{image_id}-mask.png"
    Path(path).write_bytes(content)
    entries = (
        replace(e, mask_path=path, mask_sha256=digest) if e.image_id == image_id else e for e in read_manifest().entries
    )
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    return digest


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server that shows a folder."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *words: Any) -> None:
            super().__init__(*words, directory=str(folder))

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def sha_of(image_id: str) -> str:
    return next(entry.sha256 for entry in read_manifest().entries if entry.image_id == image_id)


def names(folder: Path) -> set[str]:
    return {path.rpartition("/")[2] for path in contents(folder)}


@pytest.mark.parametrize("leaves", ["nothing", "an empty folder"])
def test_a_disk_that_is_away_keeps_the_withdrawal_open(made, remote, tmp_path, leaves):
    """Its mount point may stay; when it is back, the next push deletes photograph, true mask, row and outputs there."""
    mask, photograph = give_mask("image-1", b"a true mask"), sha_of("image-1")
    run(made, refine_crf="third")
    push()
    assert {mask, photograph} <= names(remote)
    remote.parent.rename(tmp_path / "away")
    if leaves == "an empty folder":
        remote.mkdir(parents=True)
    (report,) = withdraw("image-1", made)
    assert not report["complete"]
    (left,) = report["left_over"]
    assert f"DVC's remote store ({remote}): not reached" in left
    assert any("the withdrawal of image-1" in finding.where for finding in verify())
    with pytest.raises(UserError, match="what was pushed or pulled before is not there"):
        push()
    if leaves == "an empty folder":
        assert list(remote.iterdir()) == []
        shutil.rmtree(remote.parent)
    (tmp_path / "away").rename(remote.parent)
    push()
    old = {f"files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert old
    assert not old & contents(remote)
    assert not {mask, photograph} & names(remote)
    assert open_withdrawals(Ledger()) == []


def test_what_was_wrongly_taken_for_complete_goes_with_the_next_push(made, remote, tmp_path):
    """An earlier program forgot a remote that was away: no row leads to the true mask once this machine's import is there."""
    mask = give_mask("image-1", b"a true mask")
    run(made, refine_crf="third")
    push()
    shutil.copytree(remote, tmp_path / "copy")
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    push()
    for path in (tmp_path / "copy").rglob("*"):
        place = remote / path.relative_to(tmp_path / "copy")
        if path.is_file() and not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    old = {f"files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert old & contents(remote)
    push()
    assert not old & contents(remote)
    assert mask not in names(remote)


@pytest.mark.parametrize("given_up", [False, True])
def test_a_remote_that_was_emptied_is_said_to_be(made, remote, given_up):
    """Only a person knows that it was no accident."""
    shutil.rmtree(remote / "labelfactory")
    (report,) = withdraw("image-1", made)
    assert "which was pushed or pulled, is not there" in report["left_over"][0]
    if given_up:
        push(give_up=True)
    assert bool(open_withdrawals(Ledger())) != given_up


@pytest.mark.parametrize("known", ["noted", "of an earlier program"])
def test_a_remote_that_the_settings_lost(made, remote, known):
    """It is left over until it is added again; another name is enough."""
    sent = names(remote)
    if known == "of an earlier program":
        assert LAST_SHARED.exists()
        KNOWN.unlink()
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    (report,) = withdraw("image-1", made)
    assert not report["complete"]
    (left,) = report["left_over"]
    assert ("an earlier `labelfactory push`" if known == "of an earlier program" else str(remote)) in left
    assert sent == names(remote)
    if known == "noted":
        dvc_here(remote)
        Path(".dvc/config").write_text(Path(".dvc/config").read_text().replace("store", "renamed"))
        push()
        assert open_withdrawals(Ledger()) == []


def test_an_earlier_remote_is_cleaned_too(made, remote, tmp_path):
    """Pushed to one, then to another: both have it."""
    photograph, second = sha_of("image-1"), tmp_path / "second"
    config = Path(".dvc/config").read_text()
    Path(".dvc/config").write_text(f'{config.replace("= store", "= new")}[remote "new"]\n    url = {second}\n')
    push()
    assert list(json.loads(KNOWN.read_text())["places"].values()) == sorted(map(str, (remote, second)))
    assert photograph in names(remote) & names(second)
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert photograph not in names(remote) | names(second)
    remote.rename(tmp_path / "away")
    (again,) = withdraw("image-2", made)
    assert [line.partition(":")[0] for line in again["left_over"]] == [f"DVC's remote store ({remote})"]


@pytest.mark.parametrize("run_cache", [False, True])
@pytest.mark.parametrize("default", [True, False])
def test_what_dvc_push_sent(unpushed, tmp_path, default, run_cache):
    """It makes no folder of ours; the old report, which shows photographs, goes as well."""
    remote = tmp_path / "remote"
    dvc_here(remote)
    if not default:
        Path(".dvc/config").write_text(Path(".dvc/config").read_text().replace("    remote = store\n", ""))
    with Repo(".") as repo:
        repo.push(remote="store", run_cache=run_cache)
    assert contents(remote)
    (report,) = withdraw("image-1", unpushed)
    assert report["complete"]
    old = {f"files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert old
    assert not old & contents(remote)
    assert not (remote / "labelfactory").exists()


def test_a_folder_that_nobody_has_made(unpushed, tmp_path):
    """`dvc push` leaves no note: whether something lies on a disk that is away is not known. To make the folder says no."""
    remote = tmp_path / "remote"
    dvc_here(remote)
    (report,) = withdraw("image-1", unpushed)
    (left,) = report["left_over"]
    assert f"there is no {remote}; connect its disk, or make that folder" in left
    remote.mkdir()
    (report,) = withdraw("image-1", unpushed)
    assert report["complete"]
    assert any(f"DVC's remote store ({remote}): nothing at all is there" in line for line in report["not_ours"])


def test_the_folder_of_another_project_stays(made, remote, tmp_path):
    """Its image of the same id is another one: only outputs by their MD5 go from a remote that this project never pushed to."""
    shutil.copytree(remote, tmp_path / "theirs")
    config = Path(".dvc/config").read_text()
    Path(".dvc/config").write_text(f'{config}[remote "theirs"]\n    url = {tmp_path / "theirs"}\n')
    folder = contents(tmp_path / "theirs/labelfactory")
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert contents(tmp_path / "theirs/labelfactory") == folder
    assert any("DVC's remote theirs" in line and "photographs and masks" in line for line in report["not_ours"])
    old = {f"files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert not old & contents(tmp_path / "theirs")


def test_true_masks_that_were_replaced_go_too(made, remote):
    """No manifest names them any more; that of another image stays."""
    first, other = give_mask("image-1", b"the first true mask"), give_mask("image-2", b"of another image")
    push()
    second, others = give_mask("image-1", b"the second true mask"), give_mask("image-2", b"another of another image")
    push()
    run(made, refine_crf="third")
    record()
    assert {first, second, other, others} <= names(remote)
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert {first, second, other, others} & names(remote) == {other, others}
    (row,) = json.loads((remote / "labelfactory/replaced.json").read_text())
    assert row[1:] == [sha_of("image-2"), other]


@pytest.mark.parametrize("name", ["http", "https"])
def test_a_remote_over_http_that_does_not_answer(made, remote, name):
    """No connection is not an empty remote; `labelfactory push` says that it needs another one."""
    Path(".dvc/config").write_text(
        Path(".dvc/config").read_text().replace(f"url = {remote}", f"url = {name}://127.0.0.1:9/x")
    )
    (report,) = withdraw("image-1", made)
    assert any(f"DVC's remote store ({name}://127.0.0.1:9/x): not reached" in line for line in report["left_over"])
    with pytest.raises(UserError, match="cannot be read"):
        push()


def test_a_remote_over_http(made, remote):
    """What `dvc push` sent there is found, and left over: HTTP deletes nothing. `labelfactory push` needs a list."""
    with served(remote) as address:
        Path(".dvc/config").write_text(Path(".dvc/config").read_text().replace(f"url = {remote}", f"url = {address}"))
        KNOWN.write_text('{"places": []}')
        with pytest.raises(UserError, match="cannot list what is there over HTTP"):
            push()
        (report,) = withdraw("image-1", made)
        (left,) = report["left_over"]
        assert "objects hold the images" in left
        shutil.rmtree(remote)
        remote.mkdir()
        (again,) = sign(read_withdrawals(Ledger()))
        assert again["complete"]


def filled_by_another(remote: Path, unpushed: MadeLine, *, same: str = "") -> set[str]:
    """Another project's push: images of the same ids, all but that of `same` with other photographs; that one has a true mask.
    Gives what lies there."""
    here, project = Path.cwd(), remote.parent / "theirs"
    shutil.copytree(here, project)
    os.chdir(project)
    shutil.rmtree("data/ledger", ignore_errors=True)
    entries = []
    for entry in read_manifest().entries:
        if entry.image_id != same:
            with Path(entry.path).open("ab") as stream:
                stream.write(b"of another project")
        mask = Path("data/raw/theirs.png") if entry.image_id == same else None
        if mask:
            mask.write_bytes(b"a true mask of another project")
        masked = {"mask_path": str(mask), "mask_sha256": digest_file(mask)} if mask else {}
        entries.append(replace(entry, sha256=digest_file(Path(entry.path)), **masked))
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    dvc_here(remote)
    push()
    os.chdir(here)
    return contents(remote / "labelfactory")


@pytest.mark.parametrize("tried", ["nothing", "push", "pull", "a push that was killed"])
def test_another_project_at_the_default_remote_keeps_its_images(unpushed, tmp_path, monkeypatch, tried):
    """Its images of these ids are others; a push or pull that it stops does not make its folder ours."""
    remote = tmp_path / "remote"
    before = filled_by_another(remote, unpushed)
    manifest = (remote / "labelfactory/manifest.parquet").read_bytes()
    dvc_here(remote)
    if tried in ("push", "pull"):
        with pytest.raises(UserError, match="another"):
            {"push": push, "pull": pull}[tried]()
    if tried == "a push that was killed":
        KNOWN.write_text(json.dumps({"places": [], "begun": [str(remote)]}))
    (report,) = withdraw("image-1", unpushed)
    assert report["complete"]
    assert any("photographs and masks of other bytes, which" in line for line in report["not_ours"])
    with pytest.raises(UserError, match="another"):
        push()
    assert contents(remote / "labelfactory") == before
    assert (remote / "labelfactory/manifest.parquet").read_bytes() == manifest


def test_the_same_photograph_at_the_default_remote_goes(unpushed, tmp_path):
    """Its row too, and whoever pushes there is told; their own mask of it and images of other ids stay."""
    remote, photograph = tmp_path / "remote", sha_of("image-1")
    before = filled_by_another(remote, unpushed, same="image-1")
    others = [e for e in read_manifest(remote / "labelfactory/manifest.parquet").entries if e.image_id != "image-1"]
    dvc_here(remote)
    (report,) = withdraw("image-1", unpushed)
    assert report["complete"]
    after = contents(remote / "labelfactory")
    assert before - after == {f"pictures/{photograph[:2]}/{photograph}"}
    assert after - before == {"withdrawn.json"}
    assert json.loads((remote / "labelfactory/withdrawn.json").read_text()) == {"photographs": [photograph]}
    kept = read_manifest(remote / "labelfactory/manifest.parquet").entries
    assert [(e.image_id, e.sha256) for e in kept] == [(e.image_id, e.sha256) for e in others]
