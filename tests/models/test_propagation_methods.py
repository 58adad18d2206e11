"""Methods of propagation beside the plain walk: their laws, and a case of each that was computed by hand."""

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from noisy_photograph import photograph
from torch import Tensor

from labelfactory.errors import ShapeError
from labelfactory.settings.registry import choose
from models.affinity._pairs import pair_offsets
from models.propagation import chebyshev
from models.propagation._transition import SparseTransition
from models.propagation._weighted import partner, weighted
from models.propagation.optimal_transport import divided

METHODS = ["class_distribution", "region_gate", "optimal_transport"]
SMALL = settings(deadline=None, max_examples=25)
HEIGHT, WIDTH, STRIDE = 6, 9, 8
PAIR = [(0, 1)]
PLAIN = chebyshev.DEFAULT_TOLERANCE


def random_walk_of(
    height: int = HEIGHT, width: int = WIDTH, seed: int = 0, radius: int = 3
) -> tuple[Tensor, SparseTransition]:
    """Scores of three channels, and a step over random affinities."""
    draw = torch.Generator().manual_seed(seed)
    offsets = pair_offsets(radius)
    planes = torch.rand(len(offsets), height, width, generator=draw)
    return torch.rand(3, height, width, generator=draw), SparseTransition(planes, offsets)


def shown(image: np.ndarray | None = None) -> Tensor:
    """A photograph as a walk is given it, with a cell every 8 pixels; by default one of a dark and a bright half."""
    size = (HEIGHT - 1) * STRIDE + 1, (WIDTH - 1) * STRIDE + 1
    pixels = photograph(*size) if image is None else image
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float()


def walk(
    name: str, scores: Tensor, transition: SparseTransition, image: np.ndarray | None = None, **knobs: Any
) -> Tensor:
    method = choose("models.propagation", {"name": name} | knobs)
    asked = {"photograph": shown(image).to(scores.device)} if method.takes("walk", "photograph") else {}
    walked: Tensor = method.bind("walk")(scores, transition, **asked)
    return walked


def flipped(transition: SparseTransition, height: int = HEIGHT, width: int = WIDTH) -> SparseTransition:
    """The same affinities seen in a mirror, left and right."""
    planes: dict[tuple[int, int], Tensor] = {}

    def taken(offset: tuple[int, int]) -> Tensor:
        planes[offset] = torch.zeros(height, width)
        return torch.ones(height, width)

    weighted(transition, taken)
    affinities = {offset: torch.zeros(height, width) for offset in planes}
    for (dy, dx), target in affinities.items():
        for y in range(height):
            for x in range(width):
                if 0 <= x + dx < width and y + dy < height:
                    impulse = torch.zeros(1, height, width)
                    impulse[0, y + dy, x + dx] = 1
                    target[y, x] = transition.apply(impulse)[0, y, x] * transition.degrees[y, x]
    mirrored = []
    for dy, dx in affinities:
        source = affinities[(dy, -dx)] if dy else affinities[(dy, dx)]
        plane = source.flip(1)
        mirrored.append(plane if dy else plane.roll(-dx, 1))
    return SparseTransition(mirrored, list(affinities))


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_flat_field_stays_flat(name):
    """Of another level in each channel."""
    _, transition = random_walk_of()
    flat = torch.tensor([0.5, 0.3, 0.1])[:, None, None].expand(3, HEIGHT, WIDTH)
    torch.testing.assert_close(walk(name, flat, transition), flat, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_channels_does_not_matter(name):
    scores, transition = random_walk_of()
    order = [2, 0, 1]
    straight = walk(name, scores, transition, steps=8)
    torch.testing.assert_close(walk(name, scores[order], transition, steps=8), straight[order], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_mirrored_photograph_gives_the_mirrored_walk(name):
    """Scores, affinities and photograph in a mirror."""
    scores, transition = random_walk_of()
    image = photograph((HEIGHT - 1) * STRIDE + 1, (WIDTH - 1) * STRIDE + 1, seed=3)
    straight = walk(name, scores, transition, image, steps=8)
    mirrored = walk(name, scores.flip(2), flipped(transition), image[:, ::-1], steps=8)
    torch.testing.assert_close(mirrored.flip(2), straight, rtol=0, atol=2e-5)
    assert not torch.allclose(straight, chebyshev.walk(scores, transition, steps=8), atol=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_no_score_leaves_what_it_may_be(name):
    """At least 0 but for the polynomial's error; a class that is nowhere stays nowhere, and so does a start without any score."""
    scores, transition = random_walk_of()
    scores[1] = 0
    walked = walk(name, scores, transition)
    assert torch.isfinite(walked).all()
    assert walked.min() >= -1e-4
    assert (walked[1] == 0).all()
    assert (walk(name, torch.zeros_like(scores), transition) == 0).all()


# --- the weighted step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("windows", [False, True])
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    radius=st.integers(2, 5),
    seed=st.integers(0, 99),
    beta=st.sampled_from([1.0, 4.0]),
)
@SMALL
def test_a_weighted_step_is_that_of_the_weighted_affinities(windows, height, width, radius, seed, beta):
    """On grids narrower than the radius too, in either layout; factors of 1 change nothing."""
    draw = torch.Generator().manual_seed(seed)
    offsets = pair_offsets(radius)
    planes, factors = torch.rand(2, len(offsets), height, width, generator=draw)
    scores = torch.rand(2, height, width, generator=draw)
    transition = SparseTransition(planes, offsets, beta=beta, windows=windows)
    by_offset = dict(zip(offsets, factors, strict=True))
    expected = SparseTransition(planes**beta * factors, offsets).apply(scores)
    torch.testing.assert_close(weighted(transition, by_offset.__getitem__).apply(scores), expected, rtol=0, atol=1e-5)
    same = weighted(transition, lambda offset: torch.ones(height, width)).apply(scores)
    torch.testing.assert_close(same, transition.apply(scores), rtol=0, atol=1e-5)


def test_a_partner_is_the_cell_at_the_offset():
    field = torch.arange(12).view(3, 4)
    assert partner(field, (1, -1))[1, 2] == field[2, 1]


# --- class_distribution -----------------------------------------------------------------------------------------------


def test_class_distribution_of_three_cells_by_hand():
    """Affinities 1. Shares (1, 0), (1/2, 1/2), (0, 1): between neighbours the divergence is H(3/4) − H(1/2) / 2 = 0.8113 − 0.5,
    between the outer cells 1. The first cell's mean of channel 0, with a = 1 − 0.3113 between neighbours, is (1 + a/2) / (1 + a).
    """
    alike = 1 - (-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)) - 0.5)
    transition = SparseTransition(torch.ones(2, 1, 3), [(0, 1), (0, 2)])
    scores = torch.tensor([[[0.8, 0.3, 0.0]], [[0.0, 0.3, 0.8]]])
    walked = walk("class_distribution", scores, transition, steps=1)
    end = (0.8 + alike * 0.3) / (1 + alike)
    middle = (0.3 + alike * 0.8) / (1 + 2 * alike)
    torch.testing.assert_close(
        walked[0, 0], torch.tensor([end, middle, alike * 0.3 / (1 + alike)]), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(walked[1], walked[0].flip(1), rtol=1e-5, atol=1e-6)


def test_cells_without_a_score_pass_as_much_as_they_did():
    """Seeds of two classes with unknown cells between: a seed is cut from the other class alone."""
    transition = SparseTransition(torch.ones(1, 1, 4), PAIR)
    scores = torch.tensor([[[1.0, 0, 0, 0]], [[0, 1.0, 0, 0]]])
    walked = walk("class_distribution", scores, transition, steps=1)
    torch.testing.assert_close(walked[:, 0], torch.tensor([[1.0, 0, 0, 0], [0, 1 / 2, 1 / 3, 0]]))


def test_one_channel_is_walked_as_ever():
    scores, transition = random_walk_of()
    plain = chebyshev.walk(scores[:1], transition, steps=64)
    for name in ("class_distribution", "optimal_transport"):
        torch.testing.assert_close(walk(name, scores[:1], transition, steps=64), plain, rtol=0, atol=2e-4)


def test_power_says_how_much_a_difference_counts():
    """With 64, places of nearly equal shares alone pass anything."""
    transition = SparseTransition(torch.ones(1, 1, 2), PAIR)
    scores = torch.tensor([[[0.9, 0.3]], [[0.1, 0.7]]])
    moved = [
        float(scores[0, 0, 0] - walk("class_distribution", scores, transition, steps=1, power=power)[0, 0, 0])
        for power in (0.01, 1, 64)
    ]
    assert 0.29 < moved[0] <= 0.3
    assert 0.1 < moved[1] < 0.29
    assert 0 <= moved[2] < 0.001


# --- region_gate ------------------------------------------------------------------------------------------------------


def test_a_photograph_of_one_colour_changes_nothing():
    """It is one region."""
    scores, transition = random_walk_of()
    flat = np.full((41, 65, 3), 90, np.uint8)
    plain = chebyshev.walk(scores, transition, steps=64)
    torch.testing.assert_close(walk("region_gate", scores, transition, flat, steps=64), plain, rtol=0, atol=2e-4)


@pytest.mark.parametrize("level", [0.69, 0.71])
def test_a_border_is_crossed_where_both_sides_are_sure(level):
    """By hand: a dark and a bright half. The dark one is sure of a class. The bright one's background, at a score over 0.7 in more
    than a tenth of its cells, opens the border, and the walk is the plain one; below 0.7 nothing crosses.
    """
    image = np.full((41, 65, 3), 30, np.uint8)
    image[:, 33:] = 220  # cells 5 to 8
    _, transition = random_walk_of()
    scores = torch.zeros(2, HEIGHT, WIDTH)
    scores[1, :, 1], scores[0, :, 8] = 1.0, level
    walked = walk("region_gate", scores, transition, image, steps=64)
    if level > 0.7:
        torch.testing.assert_close(walked, chebyshev.walk(scores, transition, steps=64), rtol=0, atol=2e-4)
    else:
        assert walked[1, :, :5].min() > 0.01
        assert (walked[1, :, 5:] == 0).all()
        assert (walked[0, :, :5] == 0).all()
        assert walked[0, :, 5:].min() > 0.01


def test_halves_of_nearly_one_colour_are_one_region():
    """Greys 100 and 104 differ by less than two units of Lab: a border between them is there if less than that joins regions."""
    image = np.full((41, 65, 3), 100, np.uint8)
    image[:, 33:] = 104
    _, transition = random_walk_of()
    scores = torch.zeros(2, HEIGHT, WIDTH)
    scores[1, :, 1] = 1.0
    assert walk("region_gate", scores, transition, image)[1, :, 5:].min() > 0.01
    assert not walk("region_gate", scores, transition, image, difference=0.5)[1, :, 5:].any()


def test_a_few_sure_cells_do_not_open_a_region():
    """Of the bright half's 24 cells a share of 0.1 are more than two."""
    image = np.full((41, 65, 3), 30, np.uint8)
    image[:, 33:] = 220
    _, transition = random_walk_of()
    scores = torch.zeros(2, HEIGHT, WIDTH)
    scores[1, :, 1] = 1.0
    for count, crosses in ((2, False), (3, True)):
        scores[0, :count, 8] = 1.0
        assert bool(walk("region_gate", scores, transition, image)[1, :, 5:].any()) == crosses


def test_a_photograph_of_another_grid_is_refused():
    scores, transition = random_walk_of()
    with pytest.raises(ShapeError):
        walk("region_gate", scores, transition, np.zeros((41, 41, 3), np.uint8))


# --- optimal_transport ------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 99), softness=st.sampled_from([0.1, 0.5, 1.0]), classes=st.integers(2, 4))
@SMALL
def test_transport_keeps_the_mass_of_each_cell_and_the_area_of_each_class(seed, softness, classes):
    """What each cell holds exactly; the areas to the accuracy of 500 rounds."""
    draw = torch.Generator().manual_seed(seed)
    walked, prior = torch.rand(classes, 5, 6, generator=draw), 0.1 + torch.rand(classes, generator=draw).double()
    plan = divided(walked, prior, softness=softness, rounds=500)
    torch.testing.assert_close(plan.sum(dim=0), walked.double().sum(dim=0))
    areas = plan.sum(dim=(1, 2))
    torch.testing.assert_close(areas / areas.sum(), prior / prior.sum(), rtol=0.01, atol=0.002)


def test_transport_between_two_cells_by_hand():
    """Shares (3/5, 2/5) at both cells but for the second cell's (1/2, 1/2): class 0 is ahead at the first and level at the second.
    With equal areas and hardly any softness the first cell is class 0's and the second class 1's.
    """
    walked = torch.tensor([[[0.6, 0.5]], [[0.4, 0.5]]])
    plan = divided(walked, torch.ones(2).double(), softness=0.02, rounds=500)
    torch.testing.assert_close(plan, torch.eye(2).double()[:, None], rtol=0, atol=0.02)


def test_with_full_softness_and_the_areas_of_the_walk_nothing_moves():
    walked = torch.rand(3, 4, 5)
    plan = divided(walked, walked.double().sum(dim=(1, 2)), softness=1.0, rounds=5)
    torch.testing.assert_close(plan, walked.double())


def test_evenness_gives_each_class_the_same_area():
    """In the walk a class of a tenth of the start has a tenth, or, with evenness, half; one that is nowhere has nothing."""
    _, transition = random_walk_of()
    scores = torch.zeros(3, HEIGHT, WIDTH)
    scores[0], scores[1, 2:4] = 0.9, 0.3
    for evenness, expected in ((0.0, 1 / 10), (1.0, 1 / 2)):
        areas = walk("optimal_transport", scores, transition, evenness=evenness, rounds=2000).sum(dim=(1, 2))
        assert float(areas[1] / areas.sum()) == pytest.approx(expected, abs=0.01)
        assert areas[2] == 0
