"""Names of classes, images and lists: which are names at all, those of a source, and those that the data set takes."""

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from labelfactory.console import CONTROL
from labelfactory.dataset.manifest import Manifest
from labelfactory.errors import did_you_mean
from labelfactory.schema import MAX_CLASSES
from labelfactory.typed_names import typed
from sources._batch import Batch, Candidate
from sources._findings import SHOWN

LONGEST_NAME = 1024
BACKGROUND_NAME = "background"
"""The name of class 0 in every export; no other class may have it."""


def renamed(batch: Batch, rename: Mapping[str, str], problems: list[str]) -> tuple[Batch, tuple[str, ...]]:
    """The batch with its new names, and all names of the source in order."""
    tagged = sorted({tag for candidate in batch.candidates for tag in candidate.tags})
    known = batch.names or tuple(tagged)
    for name in rename:
        if name not in known and name not in tagged:
            problems.append(f"--rename: {name!r} is not a class of this source{_near(name, known)}")

    def new_names(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(new for name in names if (new := rename.get(name, name))))

    new_batch = replace(
        batch,
        names=new_names(batch.names),
        candidates=tuple(replace(c, tags=new_names(c.tags)) for c in batch.candidates),
        mask_values={v: new for v, name in batch.mask_values.items() if (new := rename.get(name, name))},
    )
    return new_batch, new_names(known)


def chosen_classes(
    batch: Batch, known: tuple[str, ...], wanted: tuple[str, ...], append_to: Manifest | None, problems: list[str]
) -> tuple[str, ...]:
    """The classes of the data set, in order: those of the command line, or all.

    A manifest that is extended keeps its own, and those of the command line that it lacks follow.

    Args:
        batch: from a source, with its new names.
        known: all names of the source.
        wanted: of the command line; empty for all.
        append_to: the manifest that is extended.
        problems: gets what is wrong with them.
    """
    here = append_to.classes.names if append_to is not None else ()
    if here and not wanted:
        return here
    for name in dict.fromkeys(wanted):
        if name not in known and name not in here:
            note = f"; {batch.names_note}" if batch.names_note else ""
            problems.append(f"--classes: {name!r} is not a class of this source{_near(name, known)}{note}")
        elif wanted.count(name) > 1:
            problems.append(f"--classes: {name!r} is named {wanted.count(name)} times")
    problems += [
        f"{name[:40]!r} is not the name of a class: too long or not printable; {_rename(name, 'NEW')} gives another one"
        for name in wanted or known
        if not is_name(name)
    ]
    problems += [
        f"{name!r} is the name of class 0, the pixels without a class; drop the tag with {_rename(name, '')}, "
        f"or name the class otherwise with {_rename(name, 'NEW')}"
        for name in wanted or known
        if name.strip().lower() == BACKGROUND_NAME
    ]
    if not known and not problems and (batch.candidates or not batch.left_out):
        problems.append("no photograph has a tag")
    used = (
        sum(any(name in c.tags for c in batch.candidates) for name in wanted or known)
        if len(known) > MAX_CLASSES
        else 0
    )
    if used > MAX_CLASSES:
        shown = ", ".join(map(repr, (wanted or known)[:3]))
        problems.append(
            f"{used} classes, such as {shown}; a mask holds at most {MAX_CLASSES}: choose some with --classes"
        )
    return (*here, *(name for name in dict.fromkeys(wanted or known) if name not in here))


def used_classes(
    tagged: Iterable[Candidate], chosen: tuple[str, ...], wanted: Sequence[str], problems: list[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The classes that a photograph is tagged with, and a decision that names the others.

    Args:
        tagged: the photographs that are imported.
        chosen: the classes of the data set.
        wanted: of the command line: one of them without a photograph is a problem.
        problems: gets what is wrong.
    """
    used = {tag for candidate in tagged for tag in candidate.tags}
    if wanted:
        problems += [f"--classes: no photograph is tagged {name!r}" for name in wanted if name not in used]
        return chosen, []
    unused = [name for name in chosen if name not in used]
    if len(unused) == len(chosen):
        problems.append("no photograph has a tag")
    if not unused or problems:
        return chosen, []
    shown = ", ".join(map(repr, unused[:SHOWN])) + (f" and {len(unused) - SHOWN} more" if len(unused) > SHOWN else "")
    said = f"not used: {shown} ({len(unused)} of {len(chosen)} classes; no photograph is tagged with them)"
    return tuple(name for name in chosen if name in used), [said]


def _near(name: str, known: Sequence[str]) -> str:
    """As `did_you_mean`, with names as they are typed."""
    parts = [other for other in known if name in map(str.strip, other.split(","))]  # typed without a backslash
    near = parts or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean `{typed(near[0])}`?" if near else did_you_mean(typed(name), map(typed, known))


def _rename(old: str, new: str) -> str:
    """What to type to give a class another name; a name of any length, as nothing shorter would be found."""
    return f"--rename {shlex.quote(f'{typed(old)}={new}')}"


def is_name(text: str) -> bool:
    """Whether it is one line that a terminal, a table and a list of names can hold."""
    unprintable = any(c in "\t\n" or 0xD800 <= ord(c) < 0xE000 for c in text) or CONTROL.search(text)
    return bool(text) and len(text) <= LONGEST_NAME and not unprintable
