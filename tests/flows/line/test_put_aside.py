"""A sweep that is killed while DVC has put uncommitted changes aside: the next command puts them back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT

from flows.line.put_aside import NOTE, noted, put_back
from labelfactory.errors import DataError, UserError

WHILE_ASIDE = {
    "nothing yet": [],
    "stashed": [("stash",)],
    "detached": [("stash",), ("checkout", "-q", "--detach")],
    "applied": [("stash",), ("checkout", "-q", "--detach"), ("stash", "apply", "-q")],
    "staged": [("stash",), ("checkout", "-q", "--detach"), ("stash", "apply", "-q"), ("add", "params.yaml")],
}


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=True)
    return done.stdout


def fail_after_a_stash() -> None:
    git("stash")
    git("no such command")


def tree() -> tuple[str, ...]:
    """All that a person sees of it."""
    files = tuple(Path(name).read_text() for name in ("params.yaml", "code.py"))
    return (*files, git("status", "--porcelain"), git("symbolic-ref", "HEAD"), git("stash", "list"))


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """A repository with a staged change, one that is not staged, and an entry in the stash."""
    monkeypatch.chdir(tmp_path)
    git("init", "-q", "-b", "work")
    for name, value in (("user.name", "test"), ("user.email", "test@localhost"), ("commit.gpgsign", "false")):
        git("config", name, value)
    Path(".gitignore").write_text(".labelfactory\n")
    Path("params.yaml").write_text("beta: 1\n")
    Path("code.py").write_text("answer = 1\n")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    Path("code.py").write_text("answer = 2\n")
    git("stash", "-q")
    Path("code.py").write_text("answer = 3\n")
    git("add", "code.py")
    Path("params.yaml").write_text("beta: 10\n")
    return tmp_path


@pytest.mark.parametrize("state", WHILE_ASIDE)
def test_a_killed_sweep_is_undone_by_the_next_command(repository, capsys, state):
    """Branch, index, files and stash are as before; there is nothing to undo twice."""
    before = tree()
    sweep = noted()
    sweep.__enter__()  # a kill: nobody leaves it
    for words in WHILE_ASIDE[state]:
        git(*words)
    put_back()
    assert tree() == before
    assert ("they are back" in capsys.readouterr().err) == (state != "nothing yet")
    assert not NOTE.exists()
    put_back()
    assert tree() == before


def test_what_was_edited_after_the_kill_is_kept_in_the_stash(repository):
    """It does not go over the changes that come back."""
    sweep = noted()
    sweep.__enter__()
    git("stash")
    Path("params.yaml").write_text("beta: 99\n")
    put_back()
    assert Path("params.yaml").read_text() == "beta: 10\n"
    assert "what a killed sweep left" in git("stash", "list")
    assert "beta: 99" in git("stash", "show", "-p", "stash@{0}")


def test_a_stash_that_a_person_made_after_the_kill_stays(repository):
    """It may have files that git does not track, which are nowhere else."""
    sweep = noted()
    sweep.__enter__()
    Path("notes.txt").write_text("a week's work\n")
    git("stash", "push", "-q", "-u", "-m", "precious")
    put_back()
    assert Path("params.yaml").read_text() == "beta: 10\n"
    assert "precious" in git("stash", "list").splitlines()[0]
    assert git("show", "stash@{0}^3:notes.txt") == "a week's work\n"


def test_a_merge_that_was_begun_after_the_kill_goes_on(repository, capsys):
    """What it brought stays in tree and index; what the sweep had put aside is in the stash."""
    git("stash", "-q")
    git("checkout", "-q", "-b", "other")
    Path("feature.py").write_text("new = True\n")
    git("add", "-A")
    git("commit", "-q", "-m", "a feature")
    git("checkout", "-q", "work")
    git("stash", "pop", "-q", "--index")
    sweep = noted()
    sweep.__enter__()
    git("stash", "-q")
    git("merge", "-q", "--no-commit", "--no-ff", "other")
    before = git("status", "--porcelain")
    put_back()
    assert "git stash list" in capsys.readouterr().err
    assert (git("status", "--porcelain"), Path("feature.py").read_text()) == (before, "new = True\n")
    git("commit", "-q", "-m", "merged")
    assert git("show", "HEAD:feature.py") == "new = True\n"
    assert git("show", "stash@{0}:params.yaml") == "beta: 10\n"
    assert not NOTE.exists()


def test_work_that_was_committed_since_the_kill_stays(repository, capsys):
    """The changes of then are an entry of the stash, which the message names; branch, files and index are left alone."""
    sweep = noted()
    sweep.__enter__()
    git("stash")
    Path("params.yaml").write_text("beta: 3\n")
    git("commit", "-q", "-a", "-m", "work")
    git("checkout", "-q", "-b", "other")
    put_back()
    assert "git stash list" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == "beta: 3\n"
    assert git("symbolic-ref", "HEAD") == "refs/heads/other\n"
    assert git("log", "-1", "--format=%s") == "work\n"
    assert "beta: 10" in git("stash", "show", "-p", "stash@{0}")
    assert not NOTE.exists()


def test_a_file_that_git_does_not_track_is_not_overwritten(repository):
    """Put aside with the changes, and written again since then."""
    Path("new.txt").write_text("before\n")
    git("add", "new.txt")
    sweep = noted()
    sweep.__enter__()
    git("stash")
    Path("new.txt").write_text("after\n")
    put_back()
    assert Path("new.txt").read_text() == "after\n"
    assert git("show", "stash@{0}:new.txt") == "before\n"


UNDER_WAY = {
    "merge": ("git merge -q --no-ff --no-commit other",),
    "cherry-pick": ("git cherry-pick other",),
    "revert": ("git revert --no-edit HEAD~1",),
    "rebase": ("git rebase -q other",),
    "bisect": ("git bisect start", "git bisect bad"),
}
"""What leaves git in the middle of an operation, where two branches have changed the same line."""


@pytest.mark.parametrize("operation", UNDER_WAY)
def test_a_sweep_does_not_begin_while_git_is_in_the_middle_of_something(repository, operation):
    """Played: a sweep during a merge. DVC ended it, so that the next commit would have had one parent."""
    git("commit", "-q", "-a", "-m", "second")
    git("checkout", "-q", "-b", "other", "HEAD~1")
    Path("code.py").write_text("answer = 4\n")
    git("commit", "-q", "-a", "-m", "theirs")
    git("checkout", "-q", "work")
    Path("code.py").write_text("answer = 5\n")
    git("commit", "-q", "-a", "-m", "third")
    for words in UNDER_WAY[operation]:
        subprocess.run(words.split(), capture_output=True, check=False)
    before = git("status")
    with pytest.raises(UserError, match=f"in the middle of a {operation}, which a sweep would end"), noted():
        raise AssertionError("DVC would put changes aside")
    assert git("status") == before
    assert not NOTE.exists()


@pytest.mark.parametrize("mark", ["skip-worktree", "assume-unchanged"])
def test_changes_that_git_does_not_look_at_are_no_ones_to_put_aside(repository, mark):
    """Played: a sweep beside local settings in a marked file. `git reset --hard` replaced it, and no stash had it."""
    git("checkout", "-q", "params.yaml")
    git("update-index", f"--{mark}", "params.yaml")
    Path("params.yaml").write_text("beta: mine\n")
    with pytest.raises(UserError, match=r"a sweep would lose: params\.yaml") as caught, noted():
        raise AssertionError("DVC would put changes aside")
    assert caught.value.remedy.startswith("Type `git update-index --no-skip-worktree")
    assert Path("params.yaml").read_text() == "beta: mine\n"
    Path("params.yaml").unlink()  # as where only a part of the repository is checked out
    with noted():
        pass


def test_a_file_that_was_marked_after_the_kill_stays(repository):
    """What the sweep had put aside is an entry of the stash."""
    noted().__enter__()
    git("stash")
    git("update-index", "--skip-worktree", "code.py")
    Path("code.py").write_text("answer = mine\n")
    put_back()
    assert Path("code.py").read_text() == "answer = mine\n"
    assert "beta: 10" in git("stash", "show", "-p", "stash@{0}")


def test_a_failure_of_dvc_is_undone_at_once(repository):
    """Also where DVC does not put back what it took."""
    before = tree()
    with pytest.raises(subprocess.CalledProcessError), noted():
        fail_after_a_stash()
    assert tree() == before


def test_what_is_saved_while_dvc_makes_an_experiment_stays(repository, capsys):
    """An editor does not know of DVC; nothing was interrupted, and nothing is put aside."""
    before = tree()
    with noted():
        git("stash")
        git("stash", "pop", "-q")
        git("add", "code.py")
        Path("params.yaml").write_text("beta: 77\n")
    assert Path("params.yaml").read_text() == "beta: 77\n"
    assert tree()[1:] == before[1:]
    assert capsys.readouterr().err == ""
    assert not NOTE.exists()


@pytest.mark.parametrize("content", ["", "{}", "[]", "3", '{"head": 1}', "\udcff"], ids=ascii)
def test_a_damaged_note_is_an_error_of_two_lines(repository, content):
    """What was put aside cannot be known; the person is told where to look, and to delete it."""
    NOTE.parent.mkdir()
    NOTE.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match="damaged") as caught:
        put_back()
    assert f"then delete {NOTE}" in caught.value.remedy
    NOTE.unlink()
    put_back()


KILLED = """
import os, sys
from dvc.repo import Repo
from scmrepo.git import Git
from scmrepo.git.stash import Stash
from flows.line import experiments
calls = 0
def counted(function):
    def call(*args, **options):
        global calls
        result = function(*args, **options)
        calls += 1
        if calls == int(sys.argv[1]):
            os._exit(137)
        return result
    return call
for kind, names in ((Stash, ("push", "apply", "drop")), (Git, ("checkout", "set_ref", "reset", "add"))):
    for name in names:
        setattr(kind, name, counted(getattr(kind, name)))
with Repo(".") as repo, experiments.project_lock("sweep"), experiments.lock_repo(repo), experiments.noted():
    repo.experiments.queue_one(repo.experiments.tempdir_queue, params={"params.yaml": ["beta=5"]}, name="five")
"""


@pytest.mark.slow
@pytest.mark.endurance
def test_wherever_dvc_is_killed_its_changes_are_undone(repository, monkeypatch):
    """After each of its calls of git, until there is none left."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: 'true'\n    params: [beta]\n")
    subprocess.run([Path(sys.executable).parent / "dvc", "init", "-q", "--subdir"], check=True)
    git("add", "dvc.yaml", ".dvc", ".dvcignore")
    before, code, kills = tree(), 137, 0
    while code == 137:
        kills += 1
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(kills)], capture_output=True, text=True, timeout=300, check=False
        )
        code = done.returncode
        assert code in (0, 137), done.stderr
        put_back()
        got = tree()
        assert (*got[:4], before[4]) == before
    assert kills > 5


@pytest.mark.parametrize("edited", [False, True])
def test_a_file_of_which_only_the_times_changed(repository, edited):
    """`git stash create` fails there without a word."""
    git("commit", "-q", "-a", "-m", "second")
    Path("code.py").touch()
    os.utime("params.yaml", (1, 1))
    if edited:
        Path("code.py").write_text("answer = 4\n")
    before = tree()
    with noted():
        git("stash") if edited else None
        os.utime("params.yaml", (2, 2))
    assert tree() == before
    assert not NOTE.exists()


def test_a_failure_before_anything_is_put_aside_names_no_note(repository):
    """There is none yet."""
    Path(".git/index").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"git [a-z-]+: .+") as caught, noted():
        pass
    assert NOTE.name not in caught.value.remedy
