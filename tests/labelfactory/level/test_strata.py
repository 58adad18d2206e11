"""The design of a sample: strata, shares, and permanent random numbers."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from labelfactory.level.strata import LEAST, Design, drawn, make_design, permanent_number, rarest, shared_out


def population(seed: int, n: int = 80):
    """Groups, an order and spreads of some images."""
    random = np.random.default_rng(seed)
    groups = [f"class {k}" for k in np.sort(random.integers(0, 5, n) ** 2 // 4)]
    return groups, random.random(n), random.random(n) + 0.1


@given(seed=st.integers(0, 1000), count=st.integers(2, 100))
def test_a_design_takes_what_was_asked_for_and_has_all_images(seed, count):
    """Every stratum has some of the sample, and none more than it has images."""
    groups, order, spread = population(seed)
    design = make_design(groups, order, spread, count)
    sizes = np.bincount(design.stratum, minlength=len(design.names))
    least = int(np.minimum(sizes, LEAST).sum())
    assert design.taken.sum() == max(min(count, 80), least)
    assert (design.taken <= sizes).all()
    assert (design.taken >= np.minimum(sizes, LEAST)).all()
    assert len(set(design.names)) == len(design.names)


@given(seed=st.integers(0, 1000), count=st.integers(10, 40), more=st.integers(0, 40))
def test_a_larger_sample_has_the_smaller_one(seed, count, more):
    """Shares only grow, and the permanent numbers decide: what was drawn stays."""
    groups, order, spread = population(seed)
    design = make_design(groups, order, spread, count)
    numbers = np.array([permanent_number(seed, str(k)) for k in range(80)])
    sizes = np.bincount(design.stratum)
    weights = np.sqrt(np.bincount(design.stratum, weights=spread**2) * sizes)
    larger = Design(design.names, design.stratum, shared_out(count + more, sizes, weights, design.taken))
    before, after = drawn(design, numbers), drawn(larger, numbers)
    assert (after | before == after).all()
    assert after.sum() == max(min(count + more, 80), before.sum())


def test_every_image_of_a_stratum_has_the_same_chance():
    """Over many seeds, each image is drawn as often as its stratum's share says."""
    groups, order, spread = population(1, 40)
    design = make_design(groups, order, spread, 12)
    times = np.zeros(40)
    for seed in range(3000):
        times += drawn(design, np.array([permanent_number(seed, str(k)) for k in range(40)]))
    chance = (design.taken / np.bincount(design.stratum))[design.stratum]
    assert np.abs(times / 3000 - chance).max() < 0.05


def test_a_permanent_number_is_of_seed_and_photograph():
    """It follows the SHA-256, not the name; numbers are spread over [0, 1)."""
    digests = [hashlib.sha256(str(k).encode()).hexdigest() for k in range(2000)]
    numbers = [permanent_number(0, digest) for digest in digests]
    assert numbers == [permanent_number(0, digest) for digest in digests]
    assert permanent_number(0, digests[0]) != permanent_number(1, digests[0])
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1
    assert abs(np.mean(numbers) - 0.5) < 0.03


def test_the_next_image_goes_where_it_lessens_the_variance_most():
    """Shares are the best of all that there are, by trying each."""
    sizes, weights = np.array([20, 20, 5]), np.array([10.0, 3.0, 1.0])
    best = min(
        ((a, b, 18 - a - b) for a in range(3, 13) for b in range(3, 13) if 3 <= 18 - a - b <= 5),
        key=lambda shares: float((weights**2 / np.array(shares)).sum()),
    )
    assert tuple(shared_out(18, sizes, weights)) == best


def test_groups_too_small_for_a_sample_are_joined():
    """A hundred classes and twenty images: the rare ones are one group."""
    design = make_design([f"c{k % 100}" for k in range(300)], np.zeros(300), np.ones(300), 20)
    assert design.taken.sum() == 20
    assert any(name.startswith("others") for name in design.names)


def test_the_rarest_tag():
    """The one with the fewest images; −1 without any."""
    tags = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 1]], dtype=bool)
    assert rarest(tags).tolist() == [1, 0, -1, 2, 1]


def test_lengths_must_agree():
    """A bug of the caller is no design."""
    with pytest.raises(ShapeError):
        make_design(["a"], np.zeros(2), np.zeros(1), 1)
    with pytest.raises(ShapeError):
        make_design([], np.zeros(0), np.zeros(0), 1)
