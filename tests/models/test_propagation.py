"""The random walk: laws, two and three cells by hand, and agreement with dense squaring in float64."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from labelfactory.errors import ShapeError
from models.affinity._pairs import pair_offsets
from models.propagation import _transition, chebyshev, exact
from models.propagation._transition import SparseTransition

METHODS = [exact.walk, chebyshev.walk]
SMALL = settings(deadline=None, max_examples=25)


def dense_affinities(planes: np.ndarray, offsets: list[tuple[int, int]], beta: float) -> np.ndarray:
    """Reference: A as [N, N] float64, pair by pair."""
    _, height, width = planes.shape
    matrix = np.eye(height * width)
    for plane, (dy, dx) in zip(planes, offsets, strict=True):
        for y in range(height):
            for x in range(width):
                if 0 <= y + dy < height and 0 <= x + dx < width:
                    i, j = y * width + x, (y + dy) * width + x + dx
                    matrix[i, j] = matrix[j, i] = float(plane[y, x]) ** beta
    return matrix


def dense_walk(scores: np.ndarray, affinities: np.ndarray, steps: int) -> np.ndarray:
    """Reference: rows of scores times the column-normalised matrix, as the authors write it, by dense powers."""
    transition = affinities / affinities.sum(axis=0, keepdims=True)
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    return (flat @ np.linalg.matrix_power(transition, steps)).reshape(scores.shape)


@st.composite
def grids(draw: st.DrawFn) -> tuple[np.ndarray, list[tuple[int, int]], np.ndarray]:
    """Planes of affinities, their offsets, and scores, with zeros and ones among them."""
    height, width, radius = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(2, 5))
    offsets = pair_offsets(radius)
    unit = st.floats(0, 1, width=32)
    sharp = draw(st.booleans())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    planes = random.random((len(offsets), height, width), dtype=np.float32)
    if sharp:
        planes = np.round(planes)
    scores = draw(arrays(np.float32, (draw(st.integers(1, 3)), height, width), elements=unit))
    return planes, offsets, scores


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("walk", METHODS)
@given(grid=grids(), steps=st.integers(0, 300), beta=st.sampled_from([0.5, 1.0, 8.0]))
@SMALL
def test_agrees_with_dense_powers_in_float64(walk, windows, grid, steps, beta):
    """On any grid, border and radius, both methods are within 2e-4 of the authors' dense product, in either layout."""
    planes, offsets, scores = grid
    transition = SparseTransition(torch.tensor(planes), offsets, beta=beta, windows=windows)
    expected = dense_walk(scores, dense_affinities(planes, offsets, beta), steps)
    np.testing.assert_allclose(walk(torch.tensor(scores), transition, steps=steps).numpy(), expected, atol=2e-4)


@pytest.mark.parametrize("steps", [16, 256])
@pytest.mark.parametrize("radius", [2, 5])
def test_no_scores_at_all_are_further_off_than_2e_4(radius, steps):
    """The scores that suit the error worst: its impulse responses, summed where they have one sign."""
    height, width = 9, 14
    offsets = pair_offsets(radius)
    planes = np.round(np.random.default_rng(radius).random((len(offsets), height, width)))
    impulses = np.eye(height * width, dtype=np.float32).reshape(-1, height, width)
    transition = SparseTransition(torch.tensor(planes), offsets)
    expected = dense_walk(impulses, dense_affinities(planes, offsets, 1.0), steps)
    error = chebyshev.walk(torch.tensor(impulses), transition, steps=steps).numpy() - expected
    assert max(error.clip(min=0).sum(axis=0).max(), (-error).clip(min=0).sum(axis=0).max()) <= 2e-4


@pytest.mark.parametrize("block", [1, 50, 10_000])
@given(grid=grids(), gain=st.floats(-2, 2), keep=st.sampled_from([0.0, -1.0, 0.3]))
@SMALL
def test_a_step_in_windows_is_a_step_in_planes(block, grid, gain, keep):
    """What an accelerator does, in blocks of any size, is what the CPU does: within float32's rounding."""
    planes, offsets, scores = grid
    both = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_transition, "_WINDOWS", block * (2 * 5 + 1) ** 2)
        for windows in (False, True):
            transition = SparseTransition(torch.tensor(planes), offsets, beta=2.0, windows=windows)
            state, out = (
                transition.enter(torch.tensor(scores)),
                transition.enter(torch.tensor(scores[..., ::-1].copy())),
            )
            if not keep:
                out.fill_(np.nan)  # is written over
            transition.step(state, out, gain=gain, keep=keep)
            both.append(transition.leave(out))
    torch.testing.assert_close(both[1], both[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("walk", METHODS)
@given(grid=grids(), steps=st.integers(1, 512))
@SMALL
def test_the_walk_keeps_the_degree_weighted_mass_of_every_channel(walk, grid, steps):
    """sum_i d_i x_i stays; a transposed matrix breaks this, and would keep the plain sum instead."""
    planes, offsets, scores = grid
    transition = SparseTransition(torch.tensor(planes), offsets)
    degrees = dense_affinities(planes, offsets, 1.0).sum(axis=0).reshape(scores.shape[1:])
    after = walk(torch.tensor(scores), transition, steps=steps).double().numpy()
    mass = (degrees * scores).sum(axis=(1, 2))
    np.testing.assert_allclose((degrees * after).sum(axis=(1, 2)), mass, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("walk", METHODS)
@given(height=st.integers(2, 6), width=st.integers(2, 6), steps=st.integers(1, 300), level=st.floats(0.1, 1))
@SMALL
def test_with_equal_degrees_the_plain_mass_stays(walk, height, width, steps, level):
    """Cells joined in couples, all of one affinity, have one degree: the sum of a channel is kept, up to float32.

    Each product may round all cells the same way, by half of float32's step of 1.2e-7.
    """
    plane = torch.zeros(1, height, 2 * width)
    plane[0, :, ::2] = level
    transition = SparseTransition(plane, [(0, 1)])
    scores = torch.linspace(0, 1, height * 2 * width).view(1, height, 2 * width)
    torch.testing.assert_close(
        walk(scores, transition, steps=steps).sum(), scores.sum(), rtol=1e-5 + 6e-8 * steps, atol=1e-4
    )


@pytest.mark.parametrize("walk", METHODS)
@given(grid=grids(), steps=st.integers(1, 512), level=st.floats(0, 1))
@SMALL
def test_a_flat_field_stays_flat(walk, grid, steps, level):
    """Weighted means of one value are that value."""
    planes, offsets, scores = grid
    flat = torch.full(scores.shape, level)
    after = walk(flat, SparseTransition(torch.tensor(planes), offsets), steps=steps)
    torch.testing.assert_close(after, flat, rtol=0, atol=5e-5)


@given(grid=grids(), steps=st.integers(1, 100))
@SMALL
def test_the_exact_walk_never_leaves_the_range_of_the_scores(grid, steps):
    """Means lie between the least and the greatest value."""
    planes, offsets, scores = grid
    after = exact.walk(torch.tensor(scores), SparseTransition(torch.tensor(planes), offsets), steps=steps)
    assert after.min() >= scores.min() - 1e-5
    assert after.max() <= scores.max() + 1e-5


@pytest.mark.parametrize("walk", METHODS)
@given(grid=grids(), steps=st.integers(1, 64))
@SMALL
def test_a_flipped_image_gives_the_flipped_walk(walk, grid, steps):
    """Flip left and right: offset (dy, dx) becomes (dy, -dx), or the same offset seen from its other end."""
    planes, offsets, scores = grid
    flipped = np.zeros_like(planes)
    height, width = scores.shape[1:]
    for number, (dy, dx) in enumerate(offsets):
        target = offsets.index((dy, -dx)) if dy else number
        for y in range(height):
            for x in range(width):
                other = width - 1 - x if dy else width - 1 - x - dx
                if 0 <= other < width:
                    flipped[target, y, other] = planes[number, y, x]
    straight = walk(torch.tensor(scores), SparseTransition(torch.tensor(planes), offsets), steps=steps)
    mirrored = walk(torch.tensor(scores).flip(2), SparseTransition(torch.tensor(flipped), offsets), steps=steps)
    torch.testing.assert_close(mirrored.flip(2), straight, rtol=0, atol=2e-5)


@pytest.mark.parametrize("walk", METHODS)
def test_two_cells_by_hand(walk):
    """Affinity 1/3: degrees 4/3 both, so a step keeps 3/4 and takes 1/4; two steps keep 10/16."""
    transition = SparseTransition(torch.full((1, 1, 2), 1 / 3), [(0, 1)])
    scores = torch.tensor([[[1.0, 0.0]]])
    torch.testing.assert_close(walk(scores, transition, steps=1), torch.tensor([[[0.75, 0.25]]]))
    torch.testing.assert_close(walk(scores, transition, steps=2), torch.tensor([[[0.625, 0.375]]]))


@pytest.mark.parametrize("walk", METHODS)
def test_three_cells_by_hand(walk):
    """Cells 0-1 of affinity 1, 1-2 of affinity 1/2 (its root squared by beta): degrees 2, 5/2, 3/2.

    The means of (0, 1, 0) are 1/2, 1/(5/2) = 2/5 and (1/2)/(3/2) = 1/3. The transposed matrix gives 2/5, 2/5, 1/5.
    """
    transition = SparseTransition(torch.tensor([[[1.0, 0.5**0.5, 9.0]]]), [(0, 1)], beta=2)
    torch.testing.assert_close(transition.degrees, torch.tensor([[2.0, 2.5, 1.5]]))
    after = walk(torch.tensor([[[0.0, 1.0, 0.0]]]), transition, steps=1)
    torch.testing.assert_close(after, torch.tensor([[[1 / 2, 2 / 5, 1 / 3]]]))


def test_one_step_is_apply():
    """`apply` and a walk of one step are the same."""
    transition = SparseTransition(torch.rand(4, 5, 6), pair_offsets(2))
    scores = torch.rand(2, 5, 6)
    torch.testing.assert_close(transition.apply(scores), exact.walk(scores, transition, steps=1), rtol=0, atol=0)


def test_blocks_do_not_show(monkeypatch):
    """The walk in slices of seven values gives the same bits as in one slice."""
    transition = SparseTransition(torch.rand(34, 9, 11), pair_offsets(5))
    scores = torch.rand(2, 9, 11)
    whole = chebyshev.walk(scores, transition, steps=40)
    monkeypatch.setattr("models.propagation._transition._BLOCK", 14)
    assert len(list(transition.blocks(2))) > 10
    assert torch.equal(chebyshev.walk(scores, transition, steps=40), whole)


@given(steps=st.integers(0, 1024), tolerance=st.sampled_from([0.0, 1e-6, 1e-4, 1e-2]))
@SMALL
def test_the_series_is_within_its_stated_error(steps, tolerance):
    """On all of [-1, 1]; the degree never exceeds the steps and p(1) is 1."""
    series = chebyshev.power_series(steps, tolerance)
    x = np.cos(np.linspace(0, np.pi, 1001))
    error = np.abs(np.polynomial.chebyshev.chebval(x, series) - x**steps).max()
    assert error <= tolerance + 1e-12
    assert len(series) - 1 <= steps
    assert sum(series) == pytest.approx(1, abs=1e-12)


def test_the_series_is_short_and_no_shorter_one_keeps_the_bound():
    """256 steps to 1e-4 take degree 64; two degrees less would leave a doubled tail over 1e-4."""
    assert len(chebyshev.power_series(256, 1e-4)) - 1 == 64
    full = chebyshev.power_series(256, 0.0)
    assert 2 * sum(full[65:]) <= 1e-4 < 2 * sum(full[63:])


@pytest.mark.parametrize("scores", [torch.rand(2, 5, 5), torch.rand(5, 6), torch.rand(1, 2, 5, 6)])
def test_another_grid_is_refused(scores):
    """Scores must lie on the transition's grid."""
    transition = SparseTransition(torch.rand(4, 5, 6), pair_offsets(2))
    with pytest.raises(ShapeError):
        exact.walk(scores, transition, steps=1)


@pytest.mark.parametrize(
    ("planes", "offsets"),
    [
        (torch.rand(3, 4, 4), pair_offsets(2)),
        (torch.rand(5, 4, 4), pair_offsets(2)),
        ([torch.rand(4, 4), torch.rand(4, 5)], [(0, 1), (1, 0)]),
        (torch.rand(4), [(0, 1)]),
        (torch.rand(1, 4, 4), [(0, -1)]),
        (torch.rand(1, 4, 4), [(0, 0)]),
        (torch.rand(2, 4, 4), [(0, 1), (0, 1)]),
        ([], []),
    ],
)
def test_planes_that_do_not_fit_the_offsets_are_refused(planes, offsets):
    """Too few, too many, of two sizes, or an offset that stands for the wrong direction."""
    with pytest.raises(ShapeError):
        SparseTransition(planes, offsets)


@pytest.mark.parametrize("walk", METHODS)
def test_negative_steps_are_refused(walk):
    """A walk cannot be undone."""
    with pytest.raises(ValueError, match="-1 steps"):
        walk(torch.rand(1, 2, 2), SparseTransition(torch.rand(1, 2, 2), [(0, 1)]), steps=-1)
