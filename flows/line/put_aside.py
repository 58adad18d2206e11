"""The working tree while DVC makes an experiment.

DVC stashes uncommitted changes, detaches HEAD, changes params.yaml, and undoes all that. A process that is killed in between leaves
the tree as it is then. A note tells the next command what to put back.
"""

import os
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from flows.line.git_operation import middle_of
from labelfactory.console import first_of, say
from labelfactory.errors import UserError, cut
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.lock import project_lock

NOTE = Path(".labelfactory/put_aside.json")
"""While DVC makes an experiment: the branch, and a commit of the uncommitted changes that no branch has."""
SHOWN = 5
"""Files that a message names."""


class Tree(TypedDict):
    """Where HEAD is, the index, a commit of what differs from HEAD (or nothing), and the last entry of `git stash list`."""

    head: str
    commit: str
    index: str
    changes: str
    stash: str


@contextmanager
def noted() -> Iterator[None]:
    """Let DVC make an experiment inside; the caller holds the project.

    The tree is as before, also where DVC fails. A file that somebody saved meanwhile, and did not add, stays as they saved it.

    Raises:
        UserError: as `check_tree_can_wait`.
    """
    check_tree_can_wait()
    before = _tree()
    write_json(NOTE, before)
    try:
        yield
        now = _tree()
        if {**now, "changes": ""} == {**before, "changes": ""}:  # DVC has put all back: what differs is somebody's work
            NOTE.unlink(missing_ok=True)
    finally:
        _restore()


def check_tree_can_wait() -> None:
    """Refuse to put changes aside where git would not give all back: its stash leaves unseen files out, and DVC ends a merge.

    Raises:
        UserError: a merge or the like is under way, or git does not look at changes of some files.
    """
    if operation := middle_of():
        raise UserError(
            f"git is in the middle of a {operation}, which a sweep would end",
            "Finish it (`git status` says how), or undo it.",
        )
    if unseen := _unseen_files():
        unmark = "`git update-index --no-skip-worktree FILE` and `git update-index --no-assume-unchanged FILE`"
        remedy = f"Type {unmark} for each, then commit or undo its changes."
        raise UserError(
            f"git does not look at changes of these files, which a sweep would lose: {first_of(unseen, SHOWN)}", remedy
        )


def _unseen_files() -> list[str]:
    """Files that are marked skip-worktree or assume-unchanged, in the whole repository; but for those that are not here."""
    marked = [line.partition(" ") for line in _git("ls-files", "-v", "-z", "--", ":/").split("\0") if line]
    return [path for mark, _, path in marked if (mark == "S" or mark.islower()) and os.path.lexists(path)]


def put_back() -> None:
    """Put back what a killed sweep left aside; a sweep that is at it now is waited for."""
    if NOTE.exists():
        with project_lock("labelfactory sweep"):
            _restore()


def _tree() -> Tree:
    # `git stash create` fails without a word where only times differ; 1: something differs, which is no error here
    _git("update-index", "-q", "--refresh", allowed=(0, 1))
    return {
        "head": _git("rev-parse", "--symbolic-full-name", "HEAD"),
        "commit": _git("rev-parse", "HEAD"),
        "index": _git("write-tree"),
        "changes": _git("stash", "create"),
        "stash": _git("for-each-ref", "--format=%(objectname)", "refs/stash"),
    }


def _restore() -> None:
    if not NOTE.exists():  # nothing is put aside
        return
    note: Tree = read_json(NOTE, Tree, f"Compare `git status` and `git stash list` with your work, then delete {NOTE}.")
    now = _tree()
    if (
        now["commit"] != note["commit"]
        or now["head"] not in (note["head"], "HEAD")
        or _written_since(note)
        or _unseen_files()
        or middle_of()
    ):
        if note["changes"]:
            _git("stash", "store", "-m", "labelfactory: what a killed sweep had put aside", note["changes"])
            say("sweep: an interrupted sweep had put changes aside, and you worked on since then: see `git stash list`")
        NOTE.unlink(missing_ok=True)
        return
    if now["stash"] not in ("", note["stash"]) and _is_dvcs(now["stash"], note):
        _git("stash", "drop", "--quiet")
    same = _content(_last(now)) == _content(_last(note))
    if not same and now["changes"]:  # DVC's, or edited since then
        _git("stash", "store", "-m", "labelfactory: what a killed sweep left in the working tree", now["changes"])
    moved = now["head"] != note["head"]
    if not same or moved or now["index"] != note["index"]:
        _put_back(note)
    if not same or moved:
        left = "; what it left in their place is in `git stash list`" if not same and now["changes"] else ""
        say(f"sweep: a sweep was interrupted while DVC had put your uncommitted changes aside; they are back{left}")
    NOTE.unlink(missing_ok=True)


def _is_dvcs(entry: str, note: Tree) -> bool:
    """Whether an entry of the stash is DVC's, of what comes back: a person's own may have files that git does not track."""
    with_untracked = _git("rev-parse", "--quiet", "--verify", f"{entry}^3", allowed=(0, 1))
    return not with_untracked and _content(entry) == _content(_last(note)) and _content(f"{entry}^2") == note["index"]


def _written_since(note: Tree) -> bool:
    """Whether a file that git does not track holds other bytes than the one of that name which would be put back."""
    put_aside = dict(
        reversed(line.split("\t")) for line in _git("ls-tree", "-r", "-z", _content(_last(note))).split("\0") if line
    )
    untracked = put_aside.keys() & set(_git("ls-files", "--others", "-z").split("\0"))
    return any(_git("hash-object", "--", path) != put_aside[path].split()[2] for path in untracked)


def _put_back(note: Tree) -> None:
    content = _content(_last(note))
    if note["head"] == "HEAD":
        _git("update-ref", "--no-deref", "HEAD", note["commit"])
    else:
        _git("symbolic-ref", "HEAD", note["head"])
    _git("read-tree", "--reset", "-u", content)  # removes what DVC added
    _git("read-tree", content)  # what DVC noted of times and sizes may belong to other contents: every file is written
    _git("checkout-index", "--force", "--all")
    _git("read-tree", note["index"])


def _last(tree: Tree) -> str:
    """The commit of all tracked files as they were: HEAD's where nothing differed."""
    return tree["changes"] or tree["commit"]


def _content(commit: str) -> str:
    """The digest of all tracked files of a commit."""
    return _git("rev-parse", f"{commit}^{{tree}}")


def _git(*words: str, allowed: Collection[int] = (0,)) -> str:
    done = subprocess.run(
        ["git", *words], capture_output=True, text=True, errors="surrogateescape", timeout=300, check=False
    )
    if done.returncode not in allowed:
        problem = cut(" ".join(done.stderr.split()), 300) or f"it ended with {done.returncode}"
        aside = f"; {NOTE} names the commit with your uncommitted changes" if NOTE.exists() else ""
        raise UserError(f"git {words[0]}: {problem}", f"Mend it{aside}.")
    return done.stdout.strip()
