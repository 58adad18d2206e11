"""Tags that are likely one class under two names: a rare one that reads like a common one."""

import difflib
from collections.abc import Mapping

RARE = 10
"""A slip is at least this many times rarer than what was meant."""
ALIKE = 0.75
"""Share of letters in common (difflib), above which two names read alike."""


def slips(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Names that may be slips of the keyboard, each with the name that was likely meant.

    Args:
        counts: name → number of photographs with that tag.

    Returns:
        Pairs (slip, meant), by the slip's name: the same letters in another case or order, or nearly the same letters;
        but for the case, a slip has at most a tenth of the photographs.

    >>> slips({"dog": 120, "dgo": 1, "Cat": 9, "cat": 40, "cow": 3})
    [('Cat', 'cat'), ('dgo', 'dog')]
    """
    found = []
    for name in sorted(counts):
        commoner = [other for other in counts if (counts[other], other) > (counts[name], name)]
        meant = [other for other in commoner if _is_slip(name, other, counts)]
        if meant:
            found.append((name, max(meant, key=lambda other: counts[other])))
    return found


def _is_slip(name: str, other: str, counts: Mapping[str, int]) -> bool:
    a, b = name.casefold().strip(), other.casefold().strip()
    if a == b:
        return True
    if counts[name] * RARE > counts[other]:
        return False
    return sorted(a) == sorted(b) or difflib.SequenceMatcher(None, a, b).ratio() >= ALIKE
