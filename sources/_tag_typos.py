"""Class names that are probably one: near in letters, case, plural, blanks or Unicode, at any count."""

import difflib
import re
import shlex
import unicodedata
from collections.abc import Mapping

from labelfactory.schema import MAX_CLASSES
from labelfactory.typed_names import typed
from sources._folder_names import NEGATIVES, is_one_of
from sources._names import BACKGROUND_NAME

RARE = 10
"""From this many times fewer photographs on, a name may differ more."""
ALIKE = 0.75
"""Similarity (difflib) from which on a rare name resembles another."""
NO_TAGS = ("nofinding", "nofindings", "nothing", "noobjects", "na", "null", "nan", "notag", "nolabel")
"""Tags beside the names of folders of negatives, in small letters alone."""
SHORTEST = 4
"""Letters from which on a single one may be wrong: `cat` and `car` are two classes."""


def typo_notes(counts: Mapping[str, int]) -> list[str]:
    """A line for each pair of near names, with what to type if they are one class."""
    return [
        f"the class {name!r} (images: {counts[name]}) may be {other!r} ({counts[other]}) mistyped; "
        f"if so, import again with --rename {shlex.quote(f'{typed(name)}={typed(other)}')}"
        for name, other in typos(counts)
    ]


def negative_notes(counts: Mapping[str, int]) -> list[str]:
    """A line for each tag that reads as if it said that nothing is there."""
    return [
        f"the class {name!r} (images: {counts[name]}) may say that there is none; if so, import again with "
        f"--rename {shlex.quote(f'{typed(name)}=')}, which leaves these photographs without a tag"
        for name in sorted(counts)
        if is_one_of(name, (*NEGATIVES, *NO_TAGS)) and name.strip().lower() != BACKGROUND_NAME
    ]


def typos(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Names that may be typos, each with the name that was probably intended.

    Args:
        counts: name → number of photographs with that tag.

    Returns:
        Pairs (typo, intended), sorted: of two near names, the one with more photographs is the intended one. More names than
        a data set can have give no pair.

    >>> typos({"dog": 12, "dgo": 1, "Cat": 9, "cat": 40, "cow": 3, "cats": 2, "horse 1": 5, "horse 2": 5})
    [('Cat', 'cat'), ('cats', 'cat'), ('dgo', 'dog')]
    """
    if len(counts) > MAX_CLASSES:
        return []
    pairs = []
    for name in sorted(counts):
        near = [other for other in counts if _rank(other, counts) > _rank(name, counts) and _near(name, other, counts)]
        if near:
            pairs.append((name, max(near, key=lambda other: _rank(other, counts))))
    return pairs


def _rank(name: str, counts: Mapping[str, int]) -> tuple[int, bool, str]:
    """Of two names with as many photographs, the one without capitals or odd characters is the intended one."""
    return counts[name], name == _folded(name), name


def _near(name: str, other: str, counts: Mapping[str, int]) -> bool:
    a, b = _folded(name), _folded(other)
    if a == b:
        return True
    letters = [re.sub(r"\d|\b\w\b", "", text) for text in (a, b)]
    if letters[0] == letters[1]:  # numbered: class 1, class 2, site a, site b
        return False
    short, long = sorted((a, b), key=len)
    if long in (short + "s", short + "es") or (short.endswith("y") and long == short[:-1] + "ies"):
        return True
    if len(short) > 2 and _swapped(a, b):
        return True
    if len(short) >= SHORTEST and _one_letter(short, long):
        return True
    rare = counts[name] * RARE <= counts[other]
    return rare and (sorted(a) == sorted(b) or difflib.SequenceMatcher(None, a, b).ratio() >= ALIKE)


def _folded(name: str) -> str:
    """Without case, marks that cannot be seen, and the ways to write a blank or a character."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs"))
    return " ".join(text.replace("_", " ").replace("-", " ").split())


def _swapped(a: str, b: str) -> bool:
    """Whether two neighbouring letters are swapped."""
    at = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    return len(a) == len(b) and a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]


def _one_letter(short: str, long: str) -> bool:
    """Whether one letter is another or too many."""
    at = next((k for k, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    if len(short) == len(long):
        return short[at + 1 :] == long[at + 1 :]
    return short[at:] == long[at + 1 :]
