"""The state of the git tree: clean, changed, or in the middle of a merge. A run records it, or refuses it with `strict`."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from flows.line.git_operation import HALF_DONE, middle_of
from labelfactory.console import first_of, say
from labelfactory.errors import UserError
from labelfactory.settings.wiring import LOCK_FILE

SHOWN = 5


@dataclass(frozen=True)
class Tree:
    """The git state of the working folder. `changed` are files that differ from the commit, without dvc.lock."""

    commit: str
    changed: tuple[str, ...]
    unmerged: tuple[str, ...]
    middle_of: str

    @property
    def is_clean(self) -> bool:
        """Whether the commit contains everything that the run depends on."""
        return bool(self.commit) and not (self.changed or self.unmerged or self.middle_of)

    def __str__(self) -> str:
        """One phrase for output and record: `dirty: 2 files differ from the commit: a.py, b.py`."""
        if not self.commit:
            return "no commit: this folder is not a git repository, or an empty one"
        if self.unmerged or self.middle_of:
            return f"half-merged: in the middle of a {self.middle_of or 'merge'}{_named(': ', self.unmerged)}"
        if self.changed:
            differ = "file differs" if len(self.changed) == 1 else "files differ"
            return f"dirty: {len(self.changed)} {differ} from the commit{_named(': ', self.changed)}"
        return "clean"


def read_tree() -> Tree:
    """Read the git state of this folder. dvc.lock is ignored, since each run writes it."""
    commit = _git("rev-parse", "--verify", "HEAD")
    if commit is None:
        return Tree("", (), (), "")
    entries = list(_entries(_git("status", "--porcelain", "-z") or ""))
    unmerged = tuple(path for code, path in entries if "U" in code or code in ("AA", "DD"))
    changed = tuple(path for code, path in entries if path != str(LOCK_FILE) and path not in unmerged)
    return Tree(commit.strip(), changed, unmerged, middle_of(HALF_DONE))


def check_tree(*, strict: bool) -> Tree:
    """Read the tree; print a warning during a merge or another unfinished operation.

    Raises:
        UserError: it is not clean, and `strict`.
    """
    tree = read_tree()
    if tree.is_clean:
        return tree
    if strict:
        raise UserError(f"--strict: the git tree is not clean: {tree}", "Commit or undo it, or leave --strict out.")
    if tree.middle_of or tree.unmerged:
        say(f"warning: the git tree is {tree}; the run records that")
    return tree


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Code and path of each file in the output of `git status --porcelain -z`."""
    fields = iter(text.split("\0"))
    for field in fields:
        if field:
            yield field[:2], field[3:]
        if field[:1] in ("R", "C"):
            next(fields)  # its old name


def _named(before: str, paths: tuple[str, ...]) -> str:
    return before + first_of(paths, SHOWN) if paths else ""


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")
