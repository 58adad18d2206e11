"""From class scores to labels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.seeds import channels_above, scores_at_size

SCORES = st.integers(0, 4).flatmap(
    lambda k: npst.arrays(np.float32, (k, 3, 4), elements=st.integers(0, 10).map(lambda v: np.float32(v / 10)))
)


@given(scores=SCORES, threshold=st.integers(0, 10).map(lambda v: v / 10))
def test_a_label_is_the_best_class_at_or_above_the_threshold(scores, threshold):
    """Pixel by pixel; the first of equal classes; without a class all is background."""
    labels = channels_above(scores, threshold)
    for y in range(3):
        for x in range(4):
            here = scores[:, y, x].tolist()
            best = max(here, default=-1.0)
            expected = here.index(best) + 1 if here and best >= np.float32(threshold) else 0
            assert labels[y, x] == expected


@given(scores=SCORES, low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_threshold_only_takes_away(scores, low, high):
    """What stays foreground keeps its class."""
    low, high = sorted((low, high))
    wide, narrow = channels_above(scores, low), channels_above(scores, high)
    assert np.array_equal(narrow[narrow > 0], wide[narrow > 0])


@settings(deadline=None, max_examples=30)
@given(scores=SCORES, size=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_scores_at_another_size_stay_between_their_extremes(scores, size):
    """float32 of the new size, in mirror as in the original; no class stays no class."""
    wide = scores_at_size(scores.astype(np.float16), size)
    assert (wide.shape, wide.dtype) == ((len(scores), *size), np.float32)
    stored = scores.astype(np.float16).astype(np.float32)
    for channel, made in zip(stored, wide, strict=True):
        assert channel.min() - 1e-6 <= made.min() <= made.max() <= channel.max() + 1e-6
    mirrored = scores_at_size(scores.astype(np.float16)[:, :, ::-1], size)
    assert np.allclose(mirrored, wide[:, :, ::-1], atol=1e-5)
    assert np.array_equal(scores_at_size(scores, (3, 4)), scores)
