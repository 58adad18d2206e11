"""A folder as remote in which other users can write too: what they put there leads nowhere else, and nobody waits for it."""

import os
from pathlib import Path

import pytest
from shared_bucket import first_machine

from flows.line.storage import pull, push
from labelfactory.errors import DataError, UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # DVC's own, about libraries that it uses


@pytest.fixture
def remote(tmp_path, monkeypatch) -> Path:
    """An empty folder, the remote of the line that the test goes to."""
    folder = tmp_path / "remote"
    folder.mkdir()
    first_machine(f'[remote "store"]\n    url = {folder}\n', tmp_path, monkeypatch)
    return folder


@pytest.mark.parametrize(
    "place", ["labelfactory", "labelfactory/pictures", "files", "files/md5", "labelfactory/manifest.parquet"]
)
def test_nothing_is_sent_through_a_link(remote, tmp_path, place):
    """What lies where it leads belongs to a person."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "dvc.lock").write_text("another project's")
    (remote / place).parent.mkdir(parents=True, exist_ok=True)
    (remote / place).symlink_to(mine / "dvc.lock" if place.endswith("parquet") else mine)
    with pytest.raises(UserError, match=f"{place}: is a link") as caught:
        push()
    assert "nobody else can write" in caught.value.remedy
    assert {path.name: path.read_text() for path in mine.iterdir()} == {"dvc.lock": "another project's"}


def test_a_link_that_comes_while_objects_are_sent(remote, tmp_path, monkeypatch):
    """Each object is looked at once more."""
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr("flows.line.storage.refuse_remote", lambda *args, **options: None)
    (remote / "labelfactory").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="labelfactory: is a link"):
        push()
    assert not list((tmp_path / "mine").iterdir())


def test_nobody_waits_for_a_pipe(remote):
    """Opening one waits until somebody writes into it."""
    push()
    (remote / "labelfactory/manifest.parquet").unlink()
    os.mkfifo(remote / "labelfactory/manifest.parquet")
    with pytest.raises(DataError, match=r"manifest\.parquet: is not a regular file"):
        pull()
