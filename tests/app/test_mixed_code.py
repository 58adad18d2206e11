"""A command that runs with another folder's code says so, in one line with both paths."""

import shutil
from pathlib import Path

import pytest
from workspace import ROOT

from app._mixed_code import mixed_code


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """A second folder with the project's code; this process runs that of the first."""
    for name in (
        "app",
        "flows",
        "labelfactory",
        "lineage",
        "models",
        "sources",
        "stages",
        "exports",
        "reporting",
        "pages",
    ):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_method_that_only_this_folder_has_is_warned_of(clone, labelfactory, monkeypatch):
    """`models/segmenters/mine.py` in a clone, with the environment of another; doctor finds it bad."""
    assert mixed_code() == ""
    (clone / "models/segmenters/mine.py").write_text("")
    warned = labelfactory("parameters")
    (line,) = [line for line in warned.splitlines() if line.startswith("warning: ")]
    assert str(ROOT) in line
    assert f"{clone} has other code in models/" in line
    assert "make install" in line
    (clone / ".venv").symlink_to(ROOT / ".venv")  # as in a folder that `labelfactory new` made
    assert "Type `git pull` in this folder" in labelfactory("parameters")
    assert "BAD  the code of two folders is mixed" in labelfactory("doctor", code=2)
    monkeypatch.chdir(ROOT)
    assert mixed_code() == ""


def test_links_to_the_same_code_are_no_other_code(clone):
    """A data set of its own beside the project may link to its code."""
    shutil.rmtree(clone / "models")
    (clone / "models").symlink_to(ROOT / "models")
    assert mixed_code() == ""


def test_a_folder_without_code_is_no_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mixed_code() == ""
