"""From class scores to labels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.seeds import channels_above, confident_seeds, of_classes, scores_at_size, shares

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


def test_confident_seeds_by_hand():
    """The best class where it is high, the background where it is low, nobody between."""
    cam = torch.tensor([[[0.9, 0.5, 0.1, 0.3]], [[0.2, 0.6, 0.1, 0.45]]])
    seeds = confident_seeds(cam, foreground=0.45, background=0.15)
    assert seeds[:, 0].tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]


@given(cam=npst.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)), low=st.floats(0, 0.5))
def test_a_confident_seed_belongs_to_one_channel(cam, low):
    """Of background and classes at most one, at any thresholds."""
    seeds = confident_seeds(torch.from_numpy(cam), foreground=low + 0.2, background=low)
    assert set(seeds.unique().tolist()) <= {0.0, 1.0}
    assert float(seeds.sum(dim=0).max()) <= 1


def test_shares_by_hand():
    """Each channel has a maximum of 1; what is below 0 counts as nothing."""
    walked = torch.tensor([[[4.0, 2.0, 0.0, 0.0]], [[0.0, 1.0, 2.0, -1e-6]]])
    assert shares(walked)[0, 0].tolist() == [0, 0.5, 1, 0]


@given(
    walked=npst.arrays(np.float32, (3, 2, 4), elements=st.integers(1, 100).map(lambda v: np.float32(v / 100))),
    gains=npst.arrays(np.float32, (3, 1, 1), elements=st.integers(1, 16).map(lambda v: np.float32(v / 2))),
)
def test_shares_do_not_depend_on_the_size_of_a_channel(walked, gains):
    """A large object has no say over a small one."""
    before, after = shares(torch.from_numpy(walked)), shares(torch.from_numpy(walked * gains))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    assert float(before.min()) >= 0
    assert float(before.sum(dim=0).max()) <= 1 + 1e-6


def test_shares_of_a_class_that_nothing_reached():
    """They are 0, not a division by 0."""
    walked = torch.zeros(3, 2, 2)
    walked[0] = 1
    assert not shares(walked).any()


def test_a_segmenter_is_told_what_a_photograph_shows():
    """Of background, cat, dog and sheep, sheep and dog are tagged: the cat's share goes to the others in proportion."""
    said = torch.tensor([0.2, 0.5, 0.1, 0.2])[:, None, None]
    known = of_classes(said, np.array([3, 2], dtype=np.uint8))
    assert torch.allclose(known.flatten(), torch.tensor([0.4, 0.4, 0.2]), atol=1e-4)
    assert said[0].item() == pytest.approx(0.2)  # what came in is as it was


@settings(deadline=None)
@given(
    said=npst.arrays(np.float32, (4, 2, 3), elements=st.sampled_from([0.0, 0.25, 1.0])),
    tagged=st.sets(st.integers(1, 3)),
)
def test_what_is_known_sums_to_one(said, tagged):
    """Also where all that is tagged has probability 0: there the background has it all."""
    known = of_classes(torch.from_numpy(said), sorted(tagged))
    assert known.shape == (1 + len(tagged), 2, 3)
    assert torch.allclose(known.sum(dim=0), torch.ones(2, 3))
    nothing = torch.from_numpy(said[[0, *sorted(tagged)]].sum(axis=0) == 0)
    assert torch.all(known[0][nothing] == 1)
