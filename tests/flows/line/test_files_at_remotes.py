"""What a withdrawal deletes of the files in a remote, and what it leaves there: those of others, and those that it cannot know."""

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from pushed_line import contents, no_mlflow, withdraw
from test_withdrawal_at_remote import made, remote

from app.storage import push
from flows.line import remote_removal
from flows.line.replaced_images import forget_replaced, note_replaced, replaced_pictures
from flows.line.transfer_leftovers import ABANDONED_SECONDS
from labelfactory.dataset.manifest import Manifest, read_manifest, write_manifest
from labelfactory.errors import DataError
from labelfactory.schema import Classes
from lineage.ledger import Ledger
from lineage.withdrawals import read_withdrawals

pytestmark = pytest.mark.slow
__all__ = ["made", "no_mlflow", "remote"]

TEMPORARY = f".{'a' * 22}.tmp"
"""A name that DVC gives to a file while it writes it."""


def age(folder: Path) -> None:
    """Make all files below a folder as old as those of a transfer that was killed long ago."""
    long_ago = time.time() - 2 * ABANDONED_SECONDS
    for path in folder.rglob("*.tmp"):
        os.utime(path, (long_ago, long_ago))


@pytest.mark.parametrize("ours", [True, False])
def test_temporary_files_go_where_only_this_project_writes(made, remote, tmp_path, ours):
    """The folder of a remote may have other things: another project's files, and those of people."""
    places = ("other_project/store", "labelfactory/pictures/aa", "files/md5/bb", "")
    for folder in (remote, tmp_path / "theirs"):
        for place in places:
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / TEMPORARY).write_bytes(b"half a photograph")
        age(folder)
    (remote / "files/md5/bb" / TEMPORARY.replace("a", "b")).write_bytes(b"under way")
    if not ours:
        config = Path(".dvc/config")
        config.write_text(f'{config.read_text()}[remote "theirs"]\n    url = {tmp_path / "theirs"}\n')
    (report,) = withdraw("image-1", made)
    stays = {f"other_project/store/{TEMPORARY}", TEMPORARY}
    assert {name for name in contents(remote) if TEMPORARY in name} == stays
    assert any("1 temporary files of transfers that may be under way" in line for line in report["not_ours"])
    assert len(contents(tmp_path / "theirs")) == len(places)
    theirs = "2 temporary files of transfers of this project or another one"
    assert any(theirs in line for line in report["not_ours"]) != ours


def test_nothing_is_deleted_through_a_link(made, remote, tmp_path):
    """Who may write there can let it lead to another project's cache; the report says that this remote was not reached."""
    (tmp_path / "theirs").mkdir()
    (remote / "files/md5").rename(tmp_path / "theirs/md5")
    (remote / "files/md5").symlink_to(tmp_path / "theirs/md5")
    before = contents(tmp_path / "theirs")
    (report,) = withdraw("image-1", made)
    assert contents(tmp_path / "theirs") == before
    assert not report["complete"]
    assert "files/md5: is a link" in json.dumps(report)


def put_picture(remote: Path, content: bytes) -> str:
    """A photograph or mask, as a push of another machine leaves it; gives its digest."""
    digest = hashlib.sha256(content).hexdigest()
    path = remote / f"labelfactory/pictures/{digest[:2]}/{digest}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return digest


def pictures(remote: Path) -> set[str]:
    return {Path(name).name for name in contents(remote / "labelfactory/pictures")}


def test_a_photograph_that_another_machine_imported_under_the_id(made, remote):
    """Only its row knows it. What another image has too stays."""
    both, other = put_picture(remote, b"of two images"), put_picture(remote, b"of another machine's image-1")
    manifest = remote / "labelfactory/manifest.parquet"
    pushed = read_manifest(manifest)
    new = {
        "image-1": {"sha256": other, "mask_path": "data/raw/m.png", "mask_sha256": both},
        "image-2": {"sha256": both},
    }
    rows = (replace(entry, **new.get(entry.image_id, {})) for entry in pushed.entries)
    write_manifest(replace(pushed, entries=tuple(rows)), manifest)
    (report,) = withdraw("image-1", made)
    assert report["complete"]
    assert {other, both} & pictures(remote) == {both}


def test_an_output_that_only_the_withdrawal_names_comes_again(made, remote, monkeypatch):
    """This cache never had it; another machine sends it after the report: the next push deletes it."""
    content = b"an output of another machine, with image-1"
    md5 = hashlib.md5(content).hexdigest()
    withdraw("image-1", made)
    there = remote / "files/md5" / md5[:2] / md5[2:]
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(content)
    known = [replace(each, objects=(md5,)) for each in read_withdrawals(Ledger())]
    monkeypatch.setattr(remote_removal, "read_withdrawals", lambda ledger: known)
    push()
    assert not there.exists()


DAMAGED = [
    b"",
    b"half a l",
    b"[[1, 2, 3]]",
    b"{}",
    b'[["a", "b"]]',
    b"[" * 100_000,
    f'[["{"0" * 64}", "../../x", ""]]'.encode(),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_list_of_replaced_pictures_is_not_replaced(content):
    """It may be all that knows of a picture there; what it calls a digest becomes an address that is deleted."""
    sent: list[str] = []
    store = SimpleNamespace(
        get=lambda address: content if address.endswith("replaced.json") else None,
        address=lambda *parts: "/".join(parts),
        put=lambda data, address: sent.append(address),
    )
    manifest = Manifest(Classes(("cat",)), {}, "", ())
    reads = (note_replaced, manifest), (replaced_pictures, ["a"], ["b"]), (forget_replaced, ["a"], ["b"])
    for read, *words in reads:
        with pytest.raises(DataError, match=r"replaced.json: damaged"):
            read(store, *words)
    assert not sent
