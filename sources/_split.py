"""Deals photographs to train and val: the same share of every class, and nothing that is dealt already moves.

The rarest class is dealt first (Sechidis et al., ECML 2011, iterative stratification, with one number of folds): of its
photographs those with the lowest digests go to val until its share is full, the others to train. Neither the order of the
photographs nor their names matter; photographs of the same bytes stay together.
"""

from collections import Counter
from collections.abc import Mapping

TRAIN, VAL = "train", "val"


def deal(tags_of: Mapping[str, frozenset[str]], fraction: float, dealt: Mapping[str, str]) -> dict[str, str]:
    """Deal photographs.

    Args:
        tags_of: digest of a photograph's bytes → its tags.
        fraction: share of val, in (0, 1).
        dealt: digests that have a list already; they keep it and count for the shares.

    Returns:
        Digest → "train" or "val", for all of `tags_of`. A class of two or more photographs stands on both lists unless
        `dealt` forbids it.
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
    """How many of `count` go to val: rounded, but where there are two, one at least on each side."""
    return min(max(round(count * fraction), 1), count - 1) if count > 1 else 0
