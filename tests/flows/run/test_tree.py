"""The git tree under a run: what counts as clean, what is recorded, what `--strict` refuses. Real repositories."""

import subprocess
from pathlib import Path

import pytest

from flows.run.git_tree import check_tree, read_tree
from labelfactory.errors import UserError

IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]


def git(*words: str, code: int = 0) -> None:
    assert subprocess.run(["git", *IDENTITY, *words], capture_output=True, check=False).returncode == code


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A repository of one commit, and the current folder."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "main")
    for name in ("params.yaml", "a name with spaces.py", "dvc.lock"):
        (tmp_path / name).write_text("one\n")
    (tmp_path / ".gitignore").write_text("/data/\n")
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    return tmp_path


def conflict(tree: Path) -> None:
    """Two branches that changed the same line, in the middle of their merge."""
    git("checkout", "-q", "-b", "other")
    (tree / "params.yaml").write_text("two\n")
    git("commit", "-q", "-am", "two")
    git("checkout", "-q", "main")
    (tree / "params.yaml").write_text("three\n")
    git("commit", "-q", "-am", "three")
    git("merge", "other", code=1)


def test_a_commit_and_what_a_run_writes_are_clean(tree, capsys):
    """dvc.lock and data/ are a run's own products; neither stands in the way of the next strict one."""
    (tree / "dvc.lock").write_text("two\n")
    (tree / "data").mkdir()
    (tree / "data/mask").write_text("")
    found = check_tree(strict=True)
    assert (str(found), len(found.commit), found.is_clean) == ("clean", 40, True)
    assert capsys.readouterr().err == ""


def test_changes_are_recorded_and_refused_where_strict(tree, capsys):
    """Changed, staged, untracked: each file is named, whatever its name; without --strict the run goes on in silence."""
    (tree / "a name with spaces.py").write_text("two\n")
    (tree / "new.py").write_text("")
    (tree / "params.yaml").write_text("two\n")
    git("add", "params.yaml")
    found = check_tree(strict=False)
    assert set(found.changed) == {"a name with spaces.py", "new.py", "params.yaml"}
    assert str(found).startswith("dirty: 3 files differ from the commit: ")
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"--strict: the git tree is not clean: dirty: 3 files differ") as caught:
        check_tree(strict=True)
    assert "leave --strict out" in caught.value.remedy


def test_a_half_merged_tree_is_said_and_refused_where_strict(tree, capsys):
    """The file in conflict is named; once it is resolved but not committed, the merge is still half done."""
    conflict(tree)
    said = "half-merged: in the middle of a merge"
    assert str(check_tree(strict=False)) == f"{said}: params.yaml"
    assert f"the git tree is {said}: params.yaml; the run records that" in capsys.readouterr().err
    with pytest.raises(UserError, match=said):
        check_tree(strict=True)
    (tree / "params.yaml").write_text("four\n")
    git("add", "params.yaml")
    assert str(read_tree()) == said
    git("commit", "-q", "-m", "merged")
    assert read_tree().is_clean


def test_a_renamed_file_is_one_change(tree):
    """Git names both ends of a rename; the second is no entry of its own."""
    git("mv", "params.yaml", "renamed.yaml")
    assert read_tree().changed == ("renamed.yaml",)


def test_a_folder_without_git_has_no_commit(tmp_path, monkeypatch):
    """Recorded as such, refused where strict."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "no commit" in str(check_tree(strict=False))
    with pytest.raises(UserError, match="not a git repository"):
        check_tree(strict=True)
