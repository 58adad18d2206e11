import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from labelfactory.errors import ShapeError
from labelfactory.schema import VOID
from models.losses.cross_entropy import cross_entropy

seeds = st.integers(0, 10_000)


def sample(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [2, 3, 4, 5], masks with about a third void, weights in (0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    masks = torch.randint(0, 3, (2, 4, 5), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < 0.3] = VOID
    weights = torch.rand(masks.shape, generator=generator) * 0.9 + 0.1
    return logits, masks, weights


@settings(deadline=None)
@given(seed=seeds, weighted=st.booleans())
def test_void_pixels_are_in_no_loss(seed: int, weighted: bool):
    """Whatever the logits and weights are where the mask is void, loss and gradient stay."""
    logits, masks, weights = sample(seed)
    void = masks == VOID
    other = torch.where(void[:, None], torch.randn_like(logits) * 50, logits).requires_grad_()
    changed = torch.where(void, 7.0, weights)
    loss = cross_entropy(other, masks, changed if weighted else None)
    torch.testing.assert_close(loss, cross_entropy(logits, masks, weights if weighted else None))
    loss.backward()
    assert other.grad is not None
    assert (other.grad.abs().sum(dim=1)[void] == 0).all()


@settings(deadline=None)
@given(seed=seeds)
def test_the_loss_is_the_weighted_mean_by_the_definition(seed: int):
    """Pixel by pixel in plain Python."""
    logits, masks, weights = sample(seed)
    total = trust = 0.0
    for b in range(2):
        for i in range(4):
            for j in range(5):
                label = int(masks[b, i, j])
                if label == VOID:
                    continue
                values = logits[b, :, i, j].tolist()
                loss = math.log(sum(math.exp(v) for v in values)) - values[label]
                total += loss * float(weights[b, i, j])
                trust += float(weights[b, i, j])
    assert float(cross_entropy(logits, masks, weights)) == pytest.approx(total / trust, rel=1e-4)


@settings(deadline=None)
@given(seed=seeds, factor=st.floats(0.01, 100))
def test_equal_weights_are_no_weights(seed: int, factor: float):
    """Ones change nothing, nor does any other constant."""
    logits, masks, _ = sample(seed)
    plain = cross_entropy(logits, masks)
    torch.testing.assert_close(cross_entropy(logits, masks, torch.ones(masks.shape)), plain)
    torch.testing.assert_close(cross_entropy(logits, masks, torch.full(masks.shape, factor)), plain)


@settings(deadline=None)
@given(seed=seeds)
def test_a_pixel_without_weight_is_a_void_pixel(seed: int):
    """Weight 0 and label 255 say the same."""
    logits, masks, weights = sample(seed)
    dropped = weights < 0.5
    found = cross_entropy(logits, masks, torch.where(dropped, 0.0, weights))
    torch.testing.assert_close(found, cross_entropy(logits, torch.where(dropped, VOID, masks), weights))


@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_of_nothing_but_void_costs_nothing(weighted: bool):
    """Zero with a gradient of zero, not NaN: training goes on."""
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    masks = torch.full((2, 4, 5), VOID)
    loss = cross_entropy(logits, masks, torch.ones(2, 4, 5) if weighted else None)
    loss.backward()
    assert loss == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_masks_may_be_bytes_and_logits_bfloat16():
    """As masks are read from disk, and logits come out of autocast; the loss is float32."""
    logits, masks, _ = sample(0)
    loss = cross_entropy(logits.bfloat16(), masks.to(torch.uint8))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(logits, masks), rtol=2e-2, atol=2e-2)


def test_shapes_that_disagree_are_refused():
    """Masks and weights must have the logits' batch and size."""
    logits, masks, weights = sample(0)
    with pytest.raises(ShapeError, match="masks"):
        cross_entropy(logits, masks[:, :2])
    with pytest.raises(ShapeError, match="weights"):
        cross_entropy(logits, masks, weights[:1])
