"""AffinityNet, its pairs and its loss: the pair list by hand, references in plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfactory.errors import ShapeError
from models.affinity._pairs import each_pair_affinity, pair_affinities, pair_offsets, pair_regions
from models.affinity.psa import AffinityNet, transition_of
from models.losses.affinity import affinity_loss
from models.propagation._transition import SparseTransition

SMALL = settings(deadline=None, max_examples=25)
SIZES = {"height": st.integers(1, 7), "width": st.integers(1, 7), "radius": st.integers(2, 5)}


def pairs_of(height: int, width: int, offset: tuple[int, int]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Reference: all pairs of cells of one offset, in plain loops."""
    cells = [(y, x) for y in range(height) for x in range(width)]
    moved = [((y, x), (y + offset[0], x + offset[1])) for y, x in cells]
    return [(a, b) for a, b in moved if b in cells]


def loop_loss(affinities: np.ndarray, labels: np.ndarray, offsets: list[tuple[int, int]]) -> float:
    """Reference: PSA's loss pair by pair."""
    sums, counts = {"bg": 0.0, "fg": 0.0, "neg": 0.0}, {"bg": 1e-5, "fg": 1e-5, "neg": 1e-5}
    for image, mask in zip(affinities, labels, strict=True):
        for plane, offset in zip(image, offsets, strict=True):
            for a, b in pairs_of(*mask.shape, offset):
                if 255 in (mask[a], mask[b]):
                    continue
                kind = "neg" if mask[a] != mask[b] else ("bg" if mask[a] == 0 else "fg")
                likelihood = 1 + 1e-5 - plane[a] if kind == "neg" else plane[a] + 1e-5
                sums[kind] -= math.log(likelihood)
                counts[kind] += 1
    return sums["bg"] / counts["bg"] / 4 + sums["fg"] / counts["fg"] / 4 + sums["neg"] / counts["neg"] / 2


def test_radius_5_has_psas_34_offsets():
    """Rows of 4, 9, 9, 7 and 5 offsets, in PSA's order."""
    offsets = pair_offsets(5)
    assert [sum(dy == row for dy, _ in offsets) for row in range(5)] == [4, 9, 9, 7, 5]
    assert offsets[:6] == [(0, 1), (0, 2), (0, 3), (0, 4), (1, -4), (1, -3)]
    assert offsets[-1] == (4, 2)


def test_pairs_on_a_4_by_4_grid_by_hand():
    """Radius 2: twelve pairs to the right, nine to the lower left, twelve below, nine to the lower right."""
    assert pair_offsets(2) == [(0, 1), (1, -1), (1, 0), (1, 1)]
    cells = torch.arange(16).view(4, 4)
    found = {}
    for offset in pair_offsets(2):
        first, second = pair_regions(4, 4, offset)
        found[offset] = list(zip(cells[first].flatten().tolist(), cells[second].flatten().tolist(), strict=True))
    right = [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (12, 13), (13, 14), (14, 15)]
    assert found[0, 1] == right
    assert found[1, -1] == [(1, 4), (2, 5), (3, 6), (5, 8), (6, 9), (7, 10), (9, 12), (10, 13), (11, 14)]
    assert found[1, 0] == [(i, i + 4) for i in range(12)]
    assert found[1, 1] == [(0, 5), (1, 6), (2, 7), (4, 9), (5, 10), (6, 11), (8, 13), (9, 14), (10, 15)]


@given(radius=st.integers(2, 9))
@SMALL
def test_offsets_hold_one_of_each_two_opposite_ones(radius):
    """With their opposites and (0, 0) they fill the open disc."""
    offsets = pair_offsets(radius)
    both = [*offsets, *((-dy, -dx) for dy, dx in offsets), (0, 0)]
    span = range(-radius, radius + 1)
    assert sorted(both) == sorted((y, x) for y in span for x in span if y * y + x * x < radius * radius)


def test_a_radius_without_pairs_is_refused():
    """Radius 1 holds the cell alone."""
    with pytest.raises(ValueError, match="radius 1"):
        pair_offsets(1)


@given(**SIZES, seed=st.integers(0, 1000))
@SMALL
def test_affinities_equal_a_loop_over_pairs(height, width, radius, seed):
    """exp of minus the mean absolute difference at every pair, 0 where there is none."""
    features = np.random.default_rng(seed).normal(size=(2, 3, height, width))
    offsets = pair_offsets(radius)
    expected = np.zeros((2, len(offsets), height, width))
    for number, offset in enumerate(offsets):
        for a, b in pairs_of(height, width, offset):
            difference = np.abs(features[:, :, a[0], a[1]] - features[:, :, b[0], b[1]])
            expected[:, number, a[0], a[1]] = np.exp(-difference.mean(axis=1))
    got = pair_affinities(torch.tensor(features), offsets)
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-12)
    one_by_one = torch.stack(list(each_pair_affinity(torch.tensor(features[1]), offsets)))
    torch.testing.assert_close(one_by_one, pair_affinities(torch.tensor(features[1]), offsets))
    torch.testing.assert_close(one_by_one, got[1])


def test_chunks_of_rows_do_not_show(monkeypatch):
    """Differences taken two rows at a time give the affinities of all rows at once."""
    features = torch.randn(3, 9, 7)
    whole = pair_affinities(features, pair_offsets(4))
    monkeypatch.setattr("models.affinity._pairs._CHUNK", 3 * 7 * 2)
    torch.testing.assert_close(pair_affinities(features, pair_offsets(4)), whole)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5)])
def test_gradients_of_affinities_are_those_of_finite_differences(shape):
    """The backward pass is written by hand."""
    features = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: pair_affinities(f, pair_offsets(3)), (features,))


def test_affinities_of_bfloat16_features_are_float32():
    """Half precision is widened before the differences are taken."""
    features = torch.randn(3, 4, 5).bfloat16()
    got = pair_affinities(features, pair_offsets(2))
    assert got.dtype == torch.float32
    assert torch.equal(got, pair_affinities(features.float(), pair_offsets(2)))


def test_features_of_another_rank_are_refused():
    """Neither one image nor a batch."""
    with pytest.raises(ShapeError):
        pair_affinities(torch.rand(4, 5), pair_offsets(2))
    with pytest.raises(ShapeError):
        list(each_pair_affinity(torch.rand(1, 3, 4, 5), pair_offsets(2)))
    with pytest.raises(ShapeError):
        transition_of(torch.rand(1, 3, 4, 5), radius=2, beta=1)


@given(**SIZES, seed=st.integers(0, 1000))
@SMALL
def test_the_loss_equals_a_loop_over_pairs(height, width, radius, seed):
    """Void in no pair, counts over the batch, no pair twice."""
    random = np.random.default_rng(seed)
    labels = random.choice(np.array([0, 1, 2, 255], dtype=np.uint8), size=(2, height, width))
    offsets = pair_offsets(radius)
    affinities = random.random((2, len(offsets), height, width))
    got = affinity_loss(torch.tensor(affinities), torch.tensor(labels), offsets)
    assert float(got) == pytest.approx(loop_loss(affinities, labels, offsets), rel=1e-9, abs=1e-12)


@given(seed=st.integers(0, 1000))
@SMALL
def test_the_loss_does_not_see_affinities_of_void_cells(seed):
    """Change every pair that touches void: same loss, and their gradient is 0."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (1, 6, 6), generator=random).to(torch.uint8)
    labels[:, 2:4, 1:5] = 255
    offsets = pair_offsets(3)
    affinities = torch.rand(1, len(offsets), 6, 6, generator=random, requires_grad=True)
    loss = affinity_loss(affinities, labels, offsets)
    loss.backward()
    changed = affinities.detach().clone()
    for number, offset in enumerate(offsets):
        for a, b in pairs_of(6, 6, offset):
            if 255 in (labels[0][a], labels[0][b]):
                changed[0, number, a[0], a[1]] = 0.5
                assert affinities.grad[0, number, a[0], a[1]] == 0
    assert affinity_loss(changed, labels, offsets) == loss.detach()


def test_an_all_void_batch_has_loss_and_gradient_zero():
    """No pair, no nan."""
    affinities = torch.rand(1, 4, 3, 3, requires_grad=True)
    loss = affinity_loss(affinities, torch.full((1, 3, 3), 255, dtype=torch.uint8), pair_offsets(2))
    loss.backward()
    assert loss == 0
    assert not affinities.grad.any()


def test_the_loss_refuses_another_grid():
    """Labels must lie on the affinities' grid."""
    with pytest.raises(ShapeError):
        affinity_loss(torch.rand(1, 4, 3, 3), torch.zeros(1, 3, 4, dtype=torch.uint8), pair_offsets(2))


def test_the_net_trains_under_bfloat16_autocast():
    """A few steps on two halves of an image, told apart by the backbone's outputs, lower the loss."""
    torch.manual_seed(0)
    net = AffinityNet((4, 6, 8), depths=(4, 4, 8), width=16)
    c3, c4, c5 = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4), torch.randn(1, 8, 4, 4)
    c5[..., 2:] += 2
    labels = torch.zeros(1, 8, 8, dtype=torch.uint8)
    labels[:, :, 4:] = 1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            affinities = pair_affinities(net(c3, c4, c5), pair_offsets(3))
            loss = affinity_loss(affinities, labels, pair_offsets(3))
        assert affinities.dtype == loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_the_net_works_on_the_finest_grid():
    """c4 and c5 of coarser grids are brought to that of c3; PSA's sizes give 448 channels."""
    net = AffinityNet((8, 16, 32), depths=(64, 128, 256), width=448)
    features = net(torch.randn(2, 8, 9, 13), torch.randn(2, 16, 5, 7), torch.randn(2, 32, 3, 4))
    assert features.shape == (2, 448, 9, 13)


@given(**SIZES)
@SMALL
def test_the_transition_of_features_is_that_of_their_affinities(height, width, radius):
    """Planes one by one, or all at once: the same bits."""
    features = torch.randn(3, height, width)
    offsets = pair_offsets(radius)
    direct = SparseTransition(pair_affinities(features, offsets), offsets, beta=8)
    scores = torch.rand(1, height, width)
    assert torch.equal(transition_of(features, radius=radius, beta=8).apply(scores), direct.apply(scores))
