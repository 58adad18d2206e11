"""Lists that the line needs and an import lacks."""

import shlex
from collections.abc import Iterable

from labelfactory.dataset.manifest import Entry


def list_notes(entries: Iterable[Entry], train: str, val: str) -> list[str]:
    """A line if no photograph is on one of the lists that networks learn from and are scored on, with what to type."""
    lists = sorted({name for entry in entries for name in entry.lists})
    if not lists or {train, val} <= {*lists}:
        return []
    missing = [name for name in (train, val) if name not in lists]
    if len(lists) == 1:
        return []  # one list is what --list names; another import adds the other
    here = f"the lists are {', '.join(map(repr, lists))}"
    return [
        f"no photograph is on the list {' or '.join(map(repr, missing))}; {here}. Import again with --val-fraction 0.2, which "
        f"deals all photographs anew, or choose among them: {_choice(lists, train, val)}"
    ]


def _choice(lists: list[str], train: str, val: str) -> str:
    """What to type to score on another list; the names that are missing are to be filled in."""
    learn = train if train in lists else next((name for name in lists if name != val), train)
    score = val if val in lists else next((name for name in lists if name != learn), "LIST")
    changes = [f"prepare.train_list={learn}"] if learn != train else []
    changes += [f"prepare.val_list={score}"] if score != val else []
    changes.append(f"evaluate.lists=[{learn},{score}]")
    return "labelfactory profile " + " ".join(f"--set {shlex.quote(change)}" for change in changes)
