"""A second data set without a second installation."""

import os
import subprocess
from pathlib import Path

import pytest
from workspace import ROOT

import labelfactory as package
from app._mixed_code import mixed_code

pytestmark = pytest.mark.slow


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def first(here, monkeypatch) -> Path:
    """A project with results and a remote, whose code is the one that runs."""
    (here / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (here / ".dvc/config").write_text(
        "[core]\n    remote = shared\n['remote \"shared\"']\n    url = s3://bucket/first\n"
    )
    git(here, "add", "-A")
    git(here, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Results")
    monkeypatch.setattr(package, "__file__", str(here / "labelfactory/__init__.py"))
    return here


def test_a_new_folder_is_a_project_without_data(first, labelfactory, monkeypatch, tmp_path):
    """Committed, clean, with the environment, and with nothing of the first one's results, remote or import."""
    (tmp_path / "birds").mkdir()
    shown = labelfactory("new", "../birds")
    birds = tmp_path / "birds"
    assert "cd ../birds && source .venv/bin/activate" in shown
    assert not (birds / "dvc.lock").exists()
    assert "bucket" not in (birds / ".dvc/config").read_text()
    assert git(birds, "status", "--porcelain") == ""
    assert (birds / ".venv/bin/python").exists()
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")]
    monkeypatch.chdir(birds)
    assert mixed_code() == ""
    assert "nothing is imported yet" in labelfactory("doctor", code=2)
    assert "never run" in labelfactory("status")
    assert (birds / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()


def test_another_repository_that_the_environment_names_stays_as_it_is(first, labelfactory, monkeypatch, tmp_path):
    """As in a hook of git, and where a tool for the files of a home folder has set it."""
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    git(dotfiles, "init", "-q")
    (dotfiles / "profile").write_text("mine")
    git(dotfiles, "add", "-A")
    git(dotfiles, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "Mine")
    before = git(dotfiles, "rev-parse", "HEAD")
    for name, value in (("DIR", ".git"), ("WORK_TREE", ""), ("INDEX_FILE", ".git/index")):
        monkeypatch.setenv(f"GIT_{name}", str(dotfiles / value))
    labelfactory("new", "../birds")
    assert not os.environ.get("GIT_DIR")
    assert git(dotfiles, "rev-parse", "HEAD") == before
    assert git(dotfiles, "status", "--porcelain") == ""
    assert git(tmp_path / "birds", "log", "-1", "--format=%s") == "A project for another data set"


def test_a_folder_with_something_in_it_stays_as_it_is(first, labelfactory, tmp_path):
    """And none goes into a project; uncommitted work is named."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    assert "is there already" in labelfactory("new", "../mine", code=2)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    for inside in ("birds", "data/birds", str(first / "birds")):
        assert f"lies in a project, {first}" in labelfactory("new", inside, code=2)
    (first / "params.yaml").write_text((first / "params.yaml").read_text() + "# mine\n")
    assert "has changes that are not committed" in labelfactory("new", "../birds")


def test_below_a_folder_that_is_no_project_one_is_made(first, labelfactory, monkeypatch, tmp_path):
    """Wherever the command is typed; below any project none is, from elsewhere either."""
    (tmp_path / "sets").mkdir()
    monkeypatch.chdir(tmp_path / "sets")
    labelfactory("new", "./birds")
    assert (tmp_path / "sets/birds/dvc.yaml").is_file()
    assert "lies in a project" in labelfactory("new", "birds/more", code=2)
    assert not (tmp_path / "sets/birds/more").exists()
