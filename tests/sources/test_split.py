"""Dealing photographs to train and val: shares, stability, and no photograph on both sides."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from sources._split import TRAIN, VAL, deal

TAGS = st.frozensets(st.sampled_from(["bee", "fox", "owl"]), max_size=3)
SETS = st.lists(TAGS, max_size=40).map(
    lambda tags: {hashlib.sha256(str(k).encode()).hexdigest(): t for k, t in enumerate(tags)}
)
FRACTIONS = st.floats(0.05, 0.95)


@given(images=SETS, fraction=FRACTIONS)
def test_everything_is_dealt_once_and_the_order_does_not_matter(images, fraction):
    """The same photographs in another order fall into the same splits."""
    lists = deal(images, fraction, {})
    assert set(lists) == set(images)
    assert set(lists.values()) <= {TRAIN, VAL}
    assert deal(dict(reversed(images.items())), fraction, {}) == lists


@given(images=SETS, more=SETS, fraction=FRACTIONS)
def test_nothing_moves_when_photographs_join(images, more, fraction):
    """What was dealt keeps its list, whatever joins."""
    lists = deal(images, fraction, {})
    grown = deal({**more, **images}, fraction, lists)
    assert {digest: grown[digest] for digest in images} == lists


@given(images=SETS, fraction=FRACTIONS)
def test_a_class_stands_on_both_lists(images, fraction):
    """The rarest class has its share, rounded; every class of two or more photographs that is alone in them too."""
    images = {digest: frozenset(sorted(tags)[:1]) for digest, tags in images.items()}
    lists = deal(images, fraction, {})
    for tag in {t for tags in images.values() for t in tags}:
        members = [d for d, tags in images.items() if tag in tags]
        in_val = sum(lists[d] == VAL for d in members)
        assert abs(in_val - len(members) * fraction) <= 1
        if len(members) > 1:
            assert 0 < in_val < len(members)


def test_shares_by_hand():
    """Ten bees and five foxes at 0.2: two and one go to val; those with the lowest digests."""
    images = {f"{k:02d}": frozenset({"bee"}) for k in range(10)} | {f"x{k}": frozenset({"fox"}) for k in range(5)}
    lists = deal(images, 0.2, {})
    assert {d for d in lists if lists[d] == VAL} == {"00", "01", "x0"}
    more = images | {f"0{k}a": frozenset({"bee"}) for k in range(5)}
    grown = deal(more, 0.2, lists)
    assert {d for d in grown if grown[d] == VAL} == {"00", "01", "x0", "00a"}
