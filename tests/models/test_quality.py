"""How far probabilities agree with a mask: cases by hand, and laws over random masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from labelfactory.schema import VOID
from models.quality import expected_overlap, joined, overlap


def test_two_pixels_by_hand():
    """Left: class 1 by the mask, 0.75 by the probabilities. Right: background, 0.5."""
    mask = np.array([[1, 0]], dtype=np.uint8)
    probabilities = np.array([[[0.25, 0.5]], [[0.75, 0.5]]], dtype=np.float32)
    found = expected_overlap(mask, probabilities, [0, 1])
    assert found.intersection == pytest.approx([0.25, 0.375])  # halves: shares of two pixels
    assert found.union == pytest.approx([(1 + 0.25) / 2, (1 + 0.5) / 2])
    assert found.iou == pytest.approx([0.5 / 1.25, 0.75 / 1.5])


def test_void_is_no_class():
    """It misses the class that is expected there, as a true mask counts it."""
    mask = np.array([[VOID, 1]], dtype=np.uint8)
    assert expected_overlap(mask, np.ones((1, 1, 2), dtype=np.float32), [1]).iou == pytest.approx([0.5])


def test_a_class_that_is_in_neither_has_no_union():
    mask = np.zeros((2, 2), dtype=np.uint8)
    found = expected_overlap(mask, np.zeros((1, 2, 2), dtype=np.float32), [3])
    assert (found.intersection, found.union, found.iou) == (0, 0, 0)


def test_other_sizes_are_refused():
    with pytest.raises(ShapeError):
        expected_overlap(np.zeros((2, 3), dtype=np.uint8), np.zeros((1, 2, 2), dtype=np.float32), [0])


@given(seed=st.integers(0, 10**6), n_classes=st.integers(1, 4))
def test_certain_probabilities_give_the_iou(seed, n_classes):
    """Of 0 and 1, the expected overlap is that of two masks."""
    random = np.random.default_rng(seed)
    first, second = random.integers(0, n_classes + 1, (2, 7, 5)).astype(np.uint8)
    ids = list(range(n_classes + 1))
    found = overlap(first, second, ids)
    assert found.intersection * 35 == pytest.approx([((first == k) & (second == k)).sum() for k in ids])
    assert found.union * 35 == pytest.approx([((first == k) | (second == k)).sum() for k in ids])


@given(seed=st.integers(0, 10**6))
def test_what_speaks_for_a_class_in_the_mask_raises_it_and_what_does_outside_lowers_it(seed):
    """One pixel of one channel becomes more probable; other classes stay as they are."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, 2, (4, 4)).astype(np.uint8)
    mask[0, :2] = 0, 1  # one of each at least
    probabilities = random.uniform(0.1, 0.9, (2, 4, 4)).astype(np.float32)
    before = expected_overlap(mask, probabilities, [0, 1]).iou
    for place, inside in (((0, 1), True), ((0, 0), False)):
        changed = probabilities.copy()
        changed[1][place] += 0.05
        after = expected_overlap(mask, changed, [0, 1]).iou
        assert (after[1] > before[1]) == inside
        assert after[0] == before[0]


def test_two_opinions_are_multiplied():
    """Each is scaled to 1 first: 0.4 and 0.6, 0.5 and 0.5. Where nothing is left, it is the background."""
    first = np.array([[[2.0, 1.0, 0.0]], [[3.0, 0.0, 0.0]]], dtype=np.float32)
    second = np.array([[[7.0, 0.0, 0.0]], [[7.0, 5.0, 1.0]]], dtype=np.float32)
    together = joined(first, second)
    assert together[:, 0, 0] == pytest.approx([0.4, 0.6], abs=1e-4)
    assert together[:, 0, 1] == pytest.approx([1, 0])
    assert together[:, 0, 2] == pytest.approx([1, 0])
    assert first[0, 0, 0] == 2  # the caller's array stays as it was
