"""The distance of a picture from what was learnt: what its limit says, and that it is kept to the number."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.backbones import build_backbone
from models.distance import DIRECTIONS, LEAST, Distance, features_of, measure

CPU = torch.device("cpu")


def cloud(seed: int, count: int, *, depth: int = 40, away: float = 0.0) -> np.ndarray:
    """Points that vary in six directions much and in all others little, the whole cloud `away` in one of the latter."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(depth, depth)))[0]
    sizes = np.r_[np.linspace(1, 0.3, 6), np.full(depth - 6, 0.02)]
    return rng.normal(size=(count, depth)) * sizes @ axes + away * axes[-1]


@pytest.fixture(scope="module")
def distance() -> Distance:
    measured = measure(cloud(1, 300))
    assert measured is not None
    return measured


def test_new_ones_of_the_same_kind_are_within_the_limit(distance):
    """One in a hundred is not, and not all are near 0; what lies away in a direction of little variance is far."""
    same = distance.of(cloud(2, 2000))
    assert 0.002 < (same > 1).mean() < 0.03
    assert np.median(same) > 0.5
    assert (distance.of(cloud(3, 50, away=0.3)) > 1).all()
    assert distance.photographs == 300
    assert len(distance.variances) == DIRECTIONS


@pytest.mark.parametrize("count", [LEAST, 60, 99])
def test_of_few_photographs_none_is_beyond_the_limit(count):
    """Fewer than a hundred: the limit is the farthest, each measured without itself, so new ones stay within it too."""
    points = cloud(4, count)
    measured = measure(points)
    assert (measured.of(points) <= 1).all()
    assert (measured.of(cloud(5, 200)) > 1).mean() < 0.1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), shift=st.floats(-5, 5), scale=st.floats(0.1, 10))
def test_where_the_features_lie_and_their_unit_change_nothing(seed, shift, scale):
    """A distance is in units of its own limit."""
    points, others = cloud(seed, 60), cloud(seed + 1, 5, away=0.2)
    expected = measure(points).of(others)
    assert measure(points * scale + shift).of(others * scale + shift) == pytest.approx(expected, rel=1e-3)


def test_the_same_features_give_the_same_numbers(distance):
    """To the letter of the text; written and read, each figure is equal."""
    text = distance.to_text()
    assert measure(cloud(1, 300)).to_text() == text
    again, others = Distance.from_text(text), cloud(6, 20)
    assert (again.of(others) == distance.of(others)).all()
    assert again.to_text() == text


def test_photographs_that_are_all_alike():
    """No division by 0: they are within the limit, all else is beyond it."""
    alike = np.tile(cloud(7, 1), (LEAST, 1))
    measured = measure(alike)
    assert (measured.of(alike) <= 1).all()
    assert (measured.of(cloud(8, 3)) > 1).all()


def test_no_figure_where_none_can_be_told():
    """Too few photographs, or features that are not finite."""
    assert measure(cloud(9, LEAST - 1)) is None
    spoilt = cloud(9, LEAST)
    spoilt[3, 3] = np.nan
    assert measure(spoilt) is None


def test_a_newer_format_is_no_figure_and_a_damaged_one_an_error(distance):
    """Whatever is changed: a number, an array, the text."""
    stated = json.loads(distance.to_text())
    assert Distance.from_text(json.dumps({**stated, "format": 99})) is None
    damaged = [
        {**stated, "limit": stated["limit"] * 2},
        {**stated, "mean": stated["variances"]},
        {**stated, "directions": stated["directions"][:-8]},
        {**stated, "variances": "?"},
        {**stated, "rest": None},
        {"format": 1},
        [1],
    ]
    for text in (*map(json.dumps, damaged), "", "[" * 10_000):
        with pytest.raises(ValueError, match="distance is not readable"):
            Distance.from_text(text)


def test_features_are_those_of_the_whole_picture_at_one_size():
    """Two depths, each of length 1; twice as large a picture has nearly the same, and the same picture the same to the bit."""
    torch.manual_seed(0)
    net = build_backbone("tiny", output_stride=16, state=None, pretrained=False).eval()
    small = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    large = small.repeat(2, 0).repeat(2, 1)
    both = features_of(net, [small, large], CPU)
    assert both.shape == (2, net.channels[2] + net.channels[3])
    for part in (both[:, : net.channels[2]], both[:, net.channels[2] :]):
        assert np.linalg.norm(part, axis=1) == pytest.approx(1)
        assert part[0] @ part[1] > 0.99
    assert (features_of(net, [large, small], CPU)[::-1] == both).all()
