"""Splitting vs. merging: the overlap of two maps, and when it is pushed down and up."""

import pytest
import torch
from drawn_photographs import views
from hypothesis import given
from hypothesis import strategies as st
from objective_training import later, new_objective, reached

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.objectives._maps import relative
from models.objectives.splitting_vs_merging import tagged_overlap


def in_epoch(epoch: int):
    """An objective of ten epochs whose branches see differences between places."""
    torch.manual_seed(0)
    objective = later(new_objective("splitting_vs_merging", epochs=10), epoch).eval()
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    torch.nn.init.normal_(objective.network.branch.evidence.weight, std=0.3)
    return objective


def test_the_overlap_by_hand():
    """Of 1, ½, 0 and 0, ½, 1 it is ½ of 2½; tags are a mean, other classes do not count, nor do two empty maps."""
    one = torch.tensor([[[[1.0, 0.5, 0.0]], [[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])
    assert float(tagged_overlap(one, one.flip(3), torch.tensor([[1.0, 0, 0]]))) == pytest.approx(0.2)
    assert float(tagged_overlap(one, one.flip(3), torch.tensor([[1.0, 1, 0]]))) == pytest.approx(0.6)
    assert float(tagged_overlap(one, one.flip(3), torch.tensor([[1.0, 1, 1]]))) == pytest.approx(0.4)
    assert float(tagged_overlap(one, one, torch.zeros(1, 3))) == 0


@given(seed=st.integers(0, 99))
def test_the_overlap_is_one_for_a_map_with_itself_and_never_above(seed):
    """And the same in both orders."""
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.rand(2, 2, 3, 4, 5, generator=generator)
    every = torch.ones(2, 3)
    assert float(tagged_overlap(one, one, every)) == pytest.approx(1)
    assert 0 < float(tagged_overlap(one, other, every)) < 1
    torch.testing.assert_close(tagged_overlap(one, other, every), tagged_overlap(other, one, every))


def test_maps_are_driven_apart_and_then_together():
    """A step along its loss lowers the overlap from the third epoch on, and raises it from the seventh; before, neither."""
    for epoch, term, sign in ((1, "", 0), (2, "discrepancy", -1), (5, "discrepancy", -1), (6, "intersection", 1)):
        objective, batch = in_epoch(epoch), views([0, 3])
        terms = objective(batch)
        assert {name for name in ("discrepancy", "intersection") if terms[name] != 0} == ({term} if term else set())
        if not term:
            continue
        assert reached(objective, term) == {"backbone", "classifier", "branch"}
        before, after = (overlap(objective, batch, step) for step in (0.0, 1e-3))
        assert (after - before) * sign > 0
        expected = 0.5 * before if sign < 0 else 0.5 * (1 - before)
        assert float(terms[term].detach()) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def overlap(objective, batch, step: float) -> float:
    """The overlap of both branches' maps after a step down the gradients that are there."""
    for parameter in objective.network.parameters():
        if parameter.grad is not None:
            parameter -= step * parameter.grad
    features = objective.network.activation(batch["image"])
    one, other = (f(features).sigmoid() for f in (objective.network.evidence, objective.network.branch))
    return float(tagged_overlap(one, other, batch["target"]))


def test_maps_that_lie_wholly_apart_come_together():
    """A place that one branch sees alone has a gradient in the other one, which is sure that it shows nothing."""
    one, other = (torch.tensor([[[[6.0, -6.0]]]]) * sign for sign in (1, -1))
    other.requires_grad_()
    (-tagged_overlap(one.sigmoid(), other.sigmoid(), torch.ones(1, 1))).backward()
    assert other.grad[0, 0, 0, 0] < 0 < other.grad[0, 0, 0, 1]


@torch.no_grad()
def test_the_map_is_the_higher_of_both():
    """Of the same features."""
    network, image = in_epoch(9).network, views([3])["image"]
    features = network.activation(image)
    expected = torch.maximum(relative(network.evidence(features)), relative(network.branch(features)))
    torch.testing.assert_close(network.maps(image), expected)


def test_parts_in_the_wrong_order_are_refused():
    """Nothing would be split."""
    with pytest.raises(ParamsError, match="split_from must be below merge_from"):
        choose("models.objectives", {"name": "splitting_vs_merging", "split_from": 0.6})
