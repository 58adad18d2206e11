"""Whether quality fell: noise is no fall, a real one is, and what a report says is read back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.rows.quality_falls import (
    ALL,
    ERRORS,
    LEAST_FALL,
    LEAST_IMAGES,
    Spread,
    falls,
    new_ones,
    spreads,
)


def some(mean: float, count: int = 100, deviation: float = 0.1) -> Spread:
    return Spread(count, mean, deviation)


@pytest.mark.parametrize(
    ("before", "after", "fell"),
    [
        (some(0.8), some(0.7), True),
        (some(0.8), some(0.9), False),
        (some(0.8), some(0.8 - LEAST_FALL), False),  # as another seed moves it
        (some(0.8, deviation=0.0), some(0.8 - 1.01 * LEAST_FALL, deviation=0.0), True),
        (some(0.8, LEAST_IMAGES), some(0.7, LEAST_IMAGES), False),  # of so few it may be chance
        (some(0.8, 100), some(0.1, LEAST_IMAGES - 1), False),
    ],
)
def test_a_fall_is_more_than_noise(before, after, fell):
    assert after.falls_from(before) == fell


@given(seed=st.integers(0, 10**6), count=st.integers(LEAST_IMAGES, 200))
def test_draws_from_one_kind_of_images_seldom_fall(seed, count):
    """Within the errors that are allowed, whatever the numbers of images."""
    random = np.random.default_rng(seed)
    before, after = (Spread.of(random.uniform(0, 1, n)) for n in (150, count))
    expected = ERRORS * np.hypot(before.deviation / 150**0.5, after.deviation / count**0.5)
    assert after.falls_from(before) == (before.mean - after.mean > max(LEAST_FALL, expected))


def test_sentences_name_the_class_and_both_levels():
    before = {ALL: some(0.8), "owl": some(0.7), "gone": some(0.9)}
    after = {ALL: some(0.795), "owl": some(0.5), "new": some(0.1)}
    assert falls(before, after) == ["The quality of the masks of owl fell from 70.0 to 50.0."]
    assert falls({ALL: some(0.8)}, {ALL: some(0.6)}) == ["The quality of all masks fell from 80.0 to 60.0."]


def test_new_images_of_another_kind_are_named():
    """Though they are few beside those that were there."""
    (sentence,) = new_ones(some(0.8, 1000), some(0.4, 40))
    assert "40 new images have masks of a quality of 40.0 in the mean, those of before 80.0" in sentence
    assert new_ones(some(0.8, 1000), some(0.78, 40)) == []


def test_groups_without_an_image_are_left_out():
    found = spreads({"a": 0.2, "b": 0.4}, {"cat": {"a": 0.1}, "dog": {}})
    assert found == {ALL: Spread(2, 0.3, 0.1), "cat": Spread(1, 0.1, 0.0)}
