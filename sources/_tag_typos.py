"""Tags that are probably mistyped: a rare one that resembles a common one."""

import difflib
from collections.abc import Mapping

RARE = 10
"""A typo is at least this many times rarer than the intended name."""
ALIKE = 0.75
"""Similarity (difflib) from which on two names resemble each other."""


def typos(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Names that may be typos, each with the name that was probably intended.

    Args:
        counts: name → number of photographs with that tag.

    Returns:
        Pairs (typo, intended), sorted by typo: the same letters in another case or order, or nearly the same letters;
        unless only the case differs, a typo has at most a tenth of the photographs.

    >>> typos({"dog": 120, "dgo": 1, "Cat": 9, "cat": 40, "cow": 3})
    [('Cat', 'cat'), ('dgo', 'dog')]
    """
    pairs = []
    for name in sorted(counts):
        commoner = [other for other in counts if (counts[other], other) > (counts[name], name)]
        intended = [other for other in commoner if _is_typo(name, other, counts)]
        if intended:
            pairs.append((name, max(intended, key=lambda other: counts[other])))
    return pairs


def _is_typo(name: str, other: str, counts: Mapping[str, int]) -> bool:
    a, b = name.casefold().strip(), other.casefold().strip()
    if a == b:
        return True
    if counts[name] * RARE > counts[other]:
        return False
    return sorted(a) == sorted(b) or difflib.SequenceMatcher(None, a, b).ratio() >= ALIKE
