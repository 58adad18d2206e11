"""What is built once a session: by one process however many ask, whole or not at all, and copies leave it alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from once import SHARED, once, shared_folder
from workspace import copy_workspace

SUPPORT = Path(__file__).resolve().parents[1] / "support"
ASKS = """
import sys, time
from once import once

def build(path):
    path.mkdir()
    with (path / "builders").open("a") as builders:
        builders.write("one")
    time.sleep(0.2)
    (path / "last").touch()

print(once("thing", build), (once("thing", build) / "last").exists())
"""


@pytest.fixture
def shared(tmp_path, monkeypatch) -> Path:
    """A session's folder for one test."""
    monkeypatch.setenv(SHARED, str(tmp_path))
    assert shared_folder() == tmp_path
    return tmp_path


def test_one_process_of_many_builds(shared):
    """The others wait until it is whole."""
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT)}
    words = [sys.executable, "-c", ASKS]
    asking = [subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate(timeout=60)[0].split() for process in asking]
    assert said == [[str(shared / "thing"), "True"]] * 3
    assert (shared / "thing/builders").read_text() == "one"


def test_what_could_not_be_built_is_built_anew(shared):
    """Nothing of the first attempt is left in the second."""

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        once("thing", fail)
    path = once("thing", lambda path: path.mkdir())
    assert list(path.iterdir()) == []
    once("thing", fail)  # it is there


def test_a_change_in_a_copy_does_not_reach_what_was_copied(tmp_path):
    """Files are the copy's own; those of DVC's cache and git's objects, which are only ever replaced, are shared."""
    names = ("data/mask", "dvc.lock", ".dvc/cache/files/md5/ab/cd", ".git/objects/ab/cd", ".git/index")
    for name in names:
        (tmp_path / "first" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "first" / name).write_text("first")
    copy = copy_workspace(tmp_path / "first", tmp_path / "second")
    shared = {name for name in names if (copy / name).samefile(tmp_path / "first" / name)}
    assert shared == {".dvc/cache/files/md5/ab/cd", ".git/objects/ab/cd"}
    for name in sorted(set(names) - shared):
        (copy / name).write_text("second")
    for name in sorted(shared):
        (copy / name).unlink()
    assert {name: (tmp_path / "first" / name).read_text() for name in names} == dict.fromkeys(names, "first")
