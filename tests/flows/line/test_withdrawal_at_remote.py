"""What was pushed is withdrawn at the remote too: photographs, rows, old outputs; on every machine that shares it."""

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from made_line import MadeLine
from pushed_line import contents, go_to_clone, no_mlflow, pushed_line, run, withdraw

from app.storage import pull, push
from flows.line import storage
from flows.line.learnt_withdrawals import begin_again, learn_refused
from flows.line.refused_at_remote import refuse_at
from labelfactory.dataset.manifest import MANIFEST, read_manifest, write_manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_file
from labelfactory.errors import DataError, UserError
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.record import record
from lineage.verify import verify
from lineage.withdraw import again_if_more_known
from lineage.withdrawals import open_withdrawals, read_withdrawals

pytestmark = pytest.mark.slow
__all__ = ["no_mlflow"]

CACHE = Path(".dvc/cache/files/md5")


@pytest.fixture
def remote(tmp_path) -> Path:
    return tmp_path / "remote"


@pytest.fixture
def made(remote, tmp_path, monkeypatch) -> MadeLine:
    """A line that was run twice here, and pushed."""
    monkeypatch.chdir(tmp_path)
    return pushed_line(remote, tmp_path / "first", "attic")


@pytest.fixture
def second(made, remote, tmp_path) -> Path:
    """Another machine that has pulled all of it and recorded it; it is not where the test begins."""
    folder = tmp_path / "second"
    go_to_clone(made, folder, remote)
    pull()
    record()
    os.chdir(made.root)
    return folder


def names_it(path: Path) -> bool:
    """Whether an object of the cache is a table with a row of image-1."""
    if path.read_bytes()[:4] != b"PAR1":
        return False
    table = pq.read_table(path, partitioning=None)
    return "image-1" in table["image_id"].to_pylist()


def test_photograph_row_and_old_outputs_go(made, remote):
    """What others pushed may hold it too: how much of that there is, and remotes that do not answer, are named."""
    (remote / "files/md5/00").mkdir(exist_ok=True)
    (remote / f"files/md5/00/{'0' * 30}").write_bytes(b"of another machine")
    entry = next(e for e in read_manifest().entries if e.image_id == "image-1")
    holding = {f"files/md5/{path.parent.name}/{path.name}" for path in CACHE.glob("*/*") if names_it(path)}
    before = contents(remote)
    picture = f"labelfactory/pictures/{entry.sha256[:2]}/{entry.sha256}"
    assert picture in before
    assert holding & before
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    after = contents(remote)
    assert picture not in after
    assert not holding & after
    assert "labelfactory/dvc.lock" not in after
    kept = read_manifest(remote / "labelfactory/manifest.parquet").entries
    assert [e.image_id for e in kept] == ["image-0", "image-2", "image-3"]
    assert any("DVC's remote attic (s3://attic/old)" in line for line in report["not_ours"])
    (unsearched,) = (line for line in report["not_ours"] if "outputs that other machines pushed" in line)
    assert ": 1 objects that are not in this machine's cache were not searched" in unsearched
    (remote / picture).write_bytes(b"sent again by a machine that did not know")
    push()
    assert picture not in contents(remote)
    assert "labelfactory/dvc.lock" in contents(remote)


def test_a_remote_that_does_not_answer_is_named_and_finished_by_the_next_push(made, remote):
    """Its login is not."""
    entry = next(e for e in read_manifest().entries if e.image_id == "image-1")
    picture = remote / f"labelfactory/pictures/{entry.sha256[:2]}/{entry.sha256}"
    config = Path(".dvc/config").read_text()
    Path(".dvc/config").write_text(config.replace(f"url = {remote}", "url = ssh://me:hunter2@127.0.0.1:1/store"))
    (report,) = withdraw("image-1", made)
    assert not report["complete"]
    left, earlier = report["left_over"]
    assert "not reached" in left
    assert "hunter2" not in left
    assert f"{remote}: sent to or taken from before" in earlier
    assert picture.exists()
    assert any("the withdrawal of image-1" in finding.where for finding in verify())
    Path(".dvc/config").write_text(config)
    push()
    assert not picture.exists()
    assert open_withdrawals(Ledger()) == []
    old = {f"files/md5/{md5[:2]}/{md5[2:]}" for md5 in report["deleted_from_cache"]}
    assert old
    assert not old & contents(remote)


@pytest.mark.parametrize("lock", ["old", "new"])
def test_another_machine_withdraws_it_too(made, second, remote, lock):
    """With its next pull: row, photograph, outputs and models of its own. Outputs of an old lock wait for a run."""
    withdraw("image-1", made)
    push()
    os.chdir(second)
    assert Path("data/raw/image-1.png").exists()
    if lock == "new":
        shutil.copyfile(made.root / "dvc.lock", "dvc.lock")
    pull()
    (here,) = read_withdrawals(Ledger())
    assert (here.images, here.by) == (("image-1",), "another machine")
    assert len(here.models) == 3
    assert not Path("data/raw/image-1.png").exists()
    assert "image-1" not in [e.image_id for e in read_manifest().entries]
    assert (here.left == 0) == (lock == "new")


def test_of_another_machine_under_an_id_that_shows_other_bytes_now(made):
    """No image is named, as its photograph is another one; models and outputs that have seen the withdrawn one go."""
    entry = next(e for e in read_manifest().entries if e.image_id == "image-1")
    shutil.copyfile("data/raw/image-2.png", entry.path)
    with Path(entry.path).open("ab") as stream:
        stream.write(b"another file")
    others = (replace(e, sha256=digest_file(Path(e.path))) for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=tuple(others)))
    made.run(seed=1)
    record()
    begin_again(frozenset([entry.sha256]), "the test", by="another machine", reason="withdrawn there")
    (here,) = read_withdrawals(Ledger())
    assert (here.images, here.digests) == ((), {entry.sha256})
    labels = {Lookup().models[digest].label for digest in here.models}
    assert {"classifier 1", "segmenter 1"} <= labels
    assert "classifier 2" not in labels
    assert here.cache
    assert again_if_more_known(Ledger(), here) == here


def test_another_machine_does_not_bring_it_back(made, second, remote):
    """Its push is refused until its outputs are made again, and sends no photograph."""
    withdraw("image-1", made)
    os.chdir(second)
    before = contents(remote)
    with pytest.raises(DataError, match=r"the outputs still contain withdrawn images \(image-1\)"):
        push()
    assert contents(remote) == before


def test_a_machine_that_never_had_it_refuses_it(made, remote, tmp_path):
    """A new clone knows the digest from the remote."""
    sha256 = next(e.sha256 for e in read_manifest().entries if e.image_id == "image-1")
    backup = MANIFEST.read_bytes()
    withdraw("image-1", made)
    go_to_clone(made, tmp_path / "third", remote)
    learn_refused("the test")
    assert withdrawn().photographs == {sha256}
    (remote / "labelfactory/manifest.parquet").write_bytes(backup)  # as an older program pushes it
    pull()
    assert "image-1" not in [e.image_id for e in read_manifest().entries]
    assert not Path("data/raw/image-1.png").exists()


def test_outputs_that_are_older_than_a_withdrawal_are_seen_after_a_pull(made, remote):
    """A withdrawal that was complete is open again, and says so."""
    old = {path.relative_to(CACHE): path.read_bytes() for path in CACHE.glob("*/*") if path.is_file()}
    lock = Path("dvc.lock").read_bytes()
    withdraw("image-1", made)
    push()
    for path, data in old.items():  # as a machine pushes that shares the bucket with an older program
        place = remote / "files/md5" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data) if not place.exists() else None
    Path("dvc.lock").write_bytes(lock)
    shutil.rmtree("data/masks")
    pull()
    (again,) = open_withdrawals(Ledger())
    assert again.left


def test_who_cannot_read_what_others_withdrew_sends_and_takes_nothing(made, second, remote):
    """A damaged list at the remote: the machine that knows nothing of a withdrawal would bring the photograph back."""
    withdraw("image-1", made)
    (remote / "labelfactory/withdrawn.json").write_bytes(b'{"photographs": [1, null]')
    before = contents(remote)
    os.chdir(second)
    for command in (push, pull):
        with pytest.raises(DataError, match="the list of withdrawn photographs is damaged"):
            command()
    assert contents(remote) == before


@pytest.mark.parametrize(
    "failure", [TimeoutError("timed out"), PermissionError("denied"), RuntimeError("reset by peer")]
)
def test_a_list_that_cannot_be_read_for_a_moment_stops_push_and_pull(made, second, remote, monkeypatch, failure):
    """The next request may be answered: without the list it would bring the photograph back."""
    withdraw("image-1", made)
    before, get = contents(remote), storage.Store.get

    def fails(self, address, **limits):
        if address.endswith("withdrawn.json"):
            raise failure
        return get(self, address, **limits)

    os.chdir(second)
    here = MANIFEST.read_bytes()
    with monkeypatch.context() as passing:
        passing.setattr(storage.Store, "get", fails)
        for command in (push, pull):
            with pytest.raises(UserError, match="the list of withdrawn photographs cannot be read: ") as caught:
                command()
            assert f"`labelfactory {command.__name__}` again" in caught.value.remedy
    assert (contents(remote), MANIFEST.read_bytes(), Path("data/raw/image-1.png").exists()) == (before, here, True)
    pull()
    assert not Path("data/raw/image-1.png").exists()


def test_without_a_remote_or_a_list_there_is_nothing_to_learn(made, remote):
    """A remote that nobody withdrew at has no list; of one that is not set, push says so."""
    learn_refused("the test")
    Path(".dvc/config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    learn_refused("the test")
    with pytest.raises(UserError, match="no remote"):
        push()


def test_what_is_withdrawn_while_another_machine_sends_it(made, second, remote, monkeypatch):
    """It had asked before: photograph, true mask and row do not stay, and the sender withdraws them too."""
    entry, masks = next(e for e in read_manifest().entries if e.image_id == "image-1"), b"a true mask"
    digest = hashlib.sha256(masks).hexdigest()
    for folder in (made.root, second):
        os.chdir(folder)
        manifest = read_manifest()
        Path("data/raw/mask-1.png").write_bytes(masks)
        write_manifest(
            replace(
                manifest,
                entries=tuple(
                    replace(e, mask_path="data/raw/mask-1.png", mask_sha256=digest) if e.image_id == "image-1" else e
                    for e in manifest.entries
                ),
            )
        )
    send = storage.push

    def meanwhile(**options: bool) -> object:
        os.chdir(made.root)
        withdraw("image-1", made)
        os.chdir(second)
        return send(**options)

    monkeypatch.setattr("app.storage.send", meanwhile)
    with pytest.raises(DataError, match="on another machine: image-1"):
        push()
    sent = {path.rpartition("/")[2] for path in contents(remote)}
    assert not sent & {entry.sha256, digest}
    assert "image-1" not in [e.image_id for e in read_manifest(remote / "labelfactory/manifest.parquet").entries]
    (here,) = read_withdrawals(Ledger())
    assert (here.images, here.by) == (("image-1",), "another machine")


def test_a_project_that_was_restored_from_before_a_withdrawal_sends_nothing_of_it(made, remote, tmp_path):
    """The ledger forgot it, the project did not: it is withdrawn again before anything is sent."""
    entry = next(e for e in read_manifest().entries if e.image_id == "image-1")
    shutil.copytree("data", tmp_path / "backup")
    withdraw("image-1", made)
    shutil.rmtree("data")
    shutil.copytree(tmp_path / "backup", "data")
    shutil.rmtree(remote)
    with pytest.raises(DataError, match=r"the outputs still contain withdrawn images \(image-1\)"):
        push()
    assert not remote.exists()
    assert not Path(entry.path).exists()
    run(made, refine_crf="second")
    with pytest.raises(UserError, match="what was pushed or pulled before is not there"):
        push()
    push(give_up=True)
    assert entry.sha256 not in {path.rpartition("/")[2] for path in contents(remote)}
    assert "image-1" not in [e.image_id for e in read_manifest(remote / "labelfactory/manifest.parquet").entries]


DAMAGED = [
    b'{"photographs": ["a',
    b'{"photographs": [""]}',
    b'{"photographs": ["a"]}',
    b'{"photographs": [1]}',
    b'{"photographs": {"a": 1}}',
    b'{"photographs": "' + b"a" * 64 + b'"}',
    f'{{"photographs": ["{"a" * 64}\\n"]}}'.encode(),
    f'{{"photographs": ["{"A" * 64}"]}}'.encode(),
    b"[]",
    b"{}",
    b"",
    b"[" * 100_000,
    b"\xff",
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_list_at_the_remote_is_not_replaced(content):
    """It may name photographs that other machines withdrew; and an empty digest is in every file that is searched for it."""
    sent: list[str] = []
    store = SimpleNamespace(
        get=lambda address: content,
        address=lambda *parts: "/".join(parts),
        put=lambda data, address: sent.append(address),
    )
    with pytest.raises(DataError, match="the list of withdrawn photographs is damaged"):
        refuse_at(store, {"b" * 64})
    assert not sent
