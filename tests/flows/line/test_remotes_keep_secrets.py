"""No part of a secret is in what is said of a remote that fails, wherever its text is cut."""

import pytest
from dvc.repo import Repo
from dvc_objects.fs.base import ObjectFileSystem
from pushed_line import dvc_here

from flows.line import remote_deletion, remote_removal, storage
from flows.line.remote_removal import remove_at_remotes
from flows.line.remote_store import Store
from labelfactory.errors import UserError

SECRET = "hunter2-and-much-more-of-it"
"""A value of the environment, which a remote answers with."""


class Bucket(ObjectFileSystem):
    """One of S3 that nothing is asked."""

    protocol = "s3"

    def __init__(self) -> None:
        pass


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> None:
    """A project of DVC with a remote, and another one that it never pushed to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_TOKEN", SECRET)
    (tmp_path / "store").mkdir()
    dvc_here(tmp_path / "store", "attic")


def answer(most: int) -> OSError:
    """An error whose secret begins before a cut and ends after it."""
    return OSError(f"{'x' * (most - 10)} {SECRET}")


@pytest.mark.parametrize("most", [200, 300, 500])
def test_a_remote_that_is_not_reached(monkeypatch, most):
    """In the report of a withdrawal, whether it is ours or not."""

    def fails(*words: object, **options: object) -> None:
        raise answer(most)

    monkeypatch.setattr(remote_removal, "_remove", fails)
    said = remove_at_remotes([], ())
    assert (len(said.left), len(said.others)) == (1, 1)
    assert "hunter2" not in str(said)


def test_a_bucket_that_does_not_tell_of_versions(monkeypatch):
    """In the report too."""

    def fails(*words: object) -> None:
        raise answer(200)

    monkeypatch.setattr(remote_deletion, "kept_versions", fails)
    with Repo(".") as repo:
        store = Store(repo)
        store.fs = Bucket()
        (line,) = remote_deletion.Deletion(store).unseen
    assert "it does not tell: xxx" in line
    assert "hunter2" not in line


def test_a_push_that_fails():
    """In its message."""
    with pytest.raises(UserError, match="DVC: xxx") as caught, storage._store():
        raise answer(500)
    assert "hunter2" not in str(caught.value)
