"""Pairs of images that share a tag: every image about equally often, and found again in a batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged_pictures import CLASSES, targets

from models.objectives._pairs import paired_batches, pairs_of_epoch, partners

TAG_LISTS = st.lists(st.sets(st.integers(0, CLASSES - 1)).map(sorted), min_size=1, max_size=14)


def share(one: int, other: int, tags: list[list[int]]) -> bool:
    return bool(set(tags[one]) & set(tags[other]))


@settings(deadline=None)
@given(tags=TAG_LISTS, seed=st.integers(0, 99))
def test_an_epoch_pairs_every_image_that_can_be_paired(tags, seed):
    """Each image once; pairs share a tag; of those left over no two do."""
    pairs, alone = pairs_of_epoch(targets(tags).numpy() > 0, np.random.default_rng(seed))
    assert sorted([*sum(pairs, ()), *alone]) == list(range(len(tags)))
    assert all(share(one, other, tags) for one, other in pairs)
    assert not any(share(one, other, tags) for k, one in enumerate(alone) for other in alone[:k])


@settings(deadline=None)
@given(tags=TAG_LISTS, size=st.integers(1, 6), seed=st.integers(0, 99))
def test_batches_are_full_and_repeat_no_image(tags, size, seed):
    """As many as the epoch has; of even size, no more than one pair is torn apart, and that where an image is odd."""
    held = targets(tags).numpy() > 0
    batches = paired_batches(held, size, np.random.default_rng(seed))
    assert len(batches) == max(1, len(tags) // size)
    assert all(len(batch) == min(size, len(tags)) for batch in batches)
    seen = [image for batch in batches for image in batch]
    assert len(set(seen)) == len(seen)
    assert batches == paired_batches(held, size, np.random.default_rng(seed))
    if size % 2 == 0 and len(batches) * size == len(tags):
        adjacent = [pair for batch in batches for pair in zip(batch[::2], batch[1::2], strict=True)]
        pairs, _ = pairs_of_epoch(held, np.random.default_rng(seed))
        assert sum(pair in adjacent for pair in pairs) >= len(pairs) - 1


@settings(deadline=None)
@given(tags=TAG_LISTS, seed=st.integers(0, 99))
def test_a_partner_is_the_next_one_in_a_random_order(tags, seed):
    """As two loops over the order say."""
    order = np.random.default_rng(seed).permutation(len(tags)).tolist()
    expected, taken = [], set()
    for place, one in enumerate(order):
        others = [k for k in order[place + 1 :] if share(one, k, tags) and k not in taken]
        if one not in taken and others:
            expected.append((one, others[0]))
            taken |= {one, others[0]}
    assert pairs_of_epoch(targets(tags).numpy() > 0, np.random.default_rng(seed))[0] == expected


@pytest.mark.parametrize("last", [[[2], [2], []], [[], [], []]])
def test_every_image_is_drawn_about_as_often(last):
    """Also those without tags, of which one or three are left in each epoch; every epoch leaves out three of seven."""
    held = targets([[0], [0], [1], [1], *last]).numpy() > 0
    drawn = Counter(
        image for k in range(1200) for batch in paired_batches(held, 4, np.random.default_rng(k)) for image in batch
    )
    assert all(abs(drawn[image] / 1200 - 4 / 7) < 0.06 for image in range(7))


def test_a_batch_keeps_the_pairs_of_its_epoch():
    """Images 0 and 1 have no partner; 0 does not take image 2 from its own."""
    tags = [[0], [], [0, 1], [1], [0], [0]]
    assert partners(targets(tags)).tolist() == [0, 1, 3, 2, 5, 4]


def test_partners_by_hand():
    """In an odd batch the next image with a common tag that has no neighbour; else the image itself; not two for one."""
    tags = [[0], [1], [0, 1], [], [0], [2], []]
    assert partners(targets(tags)).tolist() == [2, 1, 0, 3, 4, 5, 6]
    assert partners(targets([[1]])).tolist() == [0]
    assert partners(targets([[0], [1], [1], [0], []])).tolist() == [3, 2, 1, 0, 4]
    assert partners(targets([[0], [1], [1], [0]])).tolist() == [0, 1, 2, 3]


@given(tags=TAG_LISTS, devices=st.integers(1, 3), share=st.sampled_from([2, 4]), seed=st.integers(0, 99))
def test_shares_of_a_batch_have_the_partners_of_the_batch(tags, devices, share, seed):
    """So several devices learn what one learns."""
    held = targets(tags)
    for batch in paired_batches(held.numpy() > 0, devices * share, np.random.default_rng(seed)):
        if len(batch) == devices * share:
            whole = partners(held[batch]).tolist()
            starts = range(0, len(batch), share)
            parts = [(partners(held[batch[k : k + share]]) + k).tolist() for k in starts]
            assert whole == [partner for part in parts for partner in part]
