"""The gain of one set of masks over another: laws, a case by hand, and how often its interval holds the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from labelfactory.level.paired import BETTER, UNTOLD, WORSE, Gain, paired_gain
from labelfactory.level.ratio import Areas


def drawn(rng: np.random.Generator, images: int, gain: float, classes: int = 3) -> tuple[Areas, Areas]:
    """Images of very different difficulty, which both sides share; the second is better by about `gain`."""
    union = rng.integers(50, 1000, (images, classes)) * 1.0 * (rng.random((images, classes)) < 0.7)
    hard = rng.beta(5, 2, (images, 1))
    own = [np.clip(hard + shift + rng.normal(0, 0.08, union.shape), 0, 1) for shift in (0.0, gain)]
    return Areas(np.rint(union * own[0]), union), Areas(np.rint(union * own[1]), union)


def by_hand(first: Areas, second: Areas) -> np.ndarray:
    return second.intersection.sum(0) / second.union.sum(0) - first.intersection.sum(0) / first.union.sum(0)


def test_a_case_by_hand():
    """Two classes: 30 of 50 pixels become 40, 10 of 20 become 8."""
    areas = [np.array([[20.0, 10.0], [10.0, 0.0]]), np.array([[25.0, 20.0], [25.0, 0.0]])]
    after = [np.array([[25.0, 8.0], [15.0, 0.0]]), np.array([[25.0, 20.0], [25.0, 0.0]])]
    mean, classes = paired_gain(Areas(*areas), Areas(*after))
    assert [each.value for each in classes] == pytest.approx([0.2, -0.1])
    assert mean.value == pytest.approx(0.05)
    assert all(np.isnan(each.low) and each.verdict == UNTOLD for each in (mean, *classes))  # two images are too few


def test_the_same_masks_gain_nothing():
    first, _ = drawn(np.random.default_rng(0), 40, 0.0)
    mean, classes = paired_gain(first, first)
    assert (mean, *classes) == (Gain(0.0, 0.0, 0.0),) * 4


@given(seed=st.integers(0, 50))
def test_exchanged_sides_give_the_opposite(seed):
    """And the same seed the same interval; mIoU is the mean of the classes."""
    first, second = drawn(np.random.default_rng(seed), 30, 0.1)
    mean, classes = paired_gain(first, second, redraws=200)
    assert (mean, classes) == paired_gain(first, second, redraws=200)
    back, back_classes = paired_gain(second, first, redraws=200)
    for forth, other in zip((mean, *classes), (back, *back_classes), strict=True):
        assert (forth.value, forth.low, forth.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert [each.value for each in classes] == pytest.approx(by_hand(first, second))
    assert mean.value == pytest.approx(np.mean([each.value for each in classes]))


def test_what_both_find_hard_cancels_out():
    """A gain of three points is told, though images differ by forty; without pairs it would not be."""
    first, second = drawn(np.random.default_rng(1), 120, 0.03)
    mean, _ = paired_gain(first, second)
    assert mean.verdict == BETTER
    assert paired_gain(second, first)[0].verdict == WORSE
    apart, _ = paired_gain(first, drawn(np.random.default_rng(2), 120, 0.03)[1])
    assert apart.high - apart.low > 2 * (mean.high - mean.low)


def test_a_class_that_neither_has_is_left_out():
    """Its gain is not a number, and no part of the mean; one with few images has no interval."""
    first, second = drawn(np.random.default_rng(3), 60, 0.1)
    for areas in (first, second):
        areas.intersection[:, 1] = areas.union[:, 1] = 0
        areas.intersection[9:, 2] = areas.union[9:, 2] = 0
    mean, classes = paired_gain(first, second)
    assert np.isnan(classes[1].value)
    assert classes[1].verdict == UNTOLD
    assert np.isnan(classes[2].low)
    assert mean.value == pytest.approx((classes[0].value + classes[2].value) / 2)
    assert np.isfinite([mean.low, classes[0].low]).all()


def test_the_interval_holds_the_gain_of_all_images():
    """Of 300 sets of 100 images out of one crowd: 95 of 100 intervals, within what chance leaves."""
    rng = np.random.default_rng(4)
    crowd = drawn(rng, 20000, 0.02)
    truth = float(by_hand(*crowd).mean())
    held = 0
    for k in range(300):
        some = rng.choice(20000, 100, replace=False)
        mean, _ = paired_gain(crowd[0].of(some), crowd[1].of(some), redraws=400, seed=k)
        held += mean.low <= truth <= mean.high
    assert 0.91 <= held / 300 <= 0.98


def test_other_images_are_refused():
    first, second = drawn(np.random.default_rng(5), 20, 0.1)
    with pytest.raises(ShapeError, match="not of the same images and classes"):
        paired_gain(first, second.of(np.arange(10)))
    assert np.isnan(paired_gain(first.of(np.arange(0)), second.of(np.arange(0)))[0].value)
