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
