"""Deal photographs to train and val: the same share of every class; what was dealt before keeps its list.

The rarest class is dealt first (Sechidis et al., ECML 2011, iterative stratification, with one number of folds): of its
photographs those with the lowest digests go to val until its share is full, the others to train. Order and names of the
photographs do not matter; photographs of the same bytes stay together.
"""

from collections import Counter
from collections.abc import Mapping

TRAIN, VAL = "train", "val"


def deal(tags_of: Mapping[str, frozenset[str]], fraction: float, dealt: Mapping[str, str]) -> dict[str, str]:
    """Deal photographs.

    Args:
        tags_of: digest of a photograph's bytes → its tags.
        fraction: share of val, in (0, 1).
        dealt: lists of digests that were dealt before; they are kept and count for the shares.

    Returns:
        Digest → "train" or "val", for all of `tags_of`. A class of two or more photographs is on both lists, unless
        `dealt` prevents it.
    """
    lists = {digest: dealt[digest] for digest in tags_of if digest in dealt}
    counts = Counter(tag for tags in tags_of.values() for tag in tags)
    for tag in [*sorted(counts, key=lambda name: (counts[name], name)), None]:
        members = [d for d, tags in tags_of.items() if (tag in tags if tag is not None else not tags)]
        wanted = _share(len(members), fraction) - sum(lists.get(d) == VAL for d in members)
        for digest in sorted(d for d in members if d not in lists):
            lists[digest] = VAL if wanted > 0 else TRAIN
            wanted -= 1
    return lists


def _share(count: int, fraction: float) -> int:
    """Number of photographs for val: rounded, but with two or more, at least one on each side."""
    return min(max(round(count * fraction), 1), count - 1) if count > 1 else 0
