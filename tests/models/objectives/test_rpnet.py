"""RPNet: which places look like objects, by whose prototypes, and what the CAM learns from it."""

import numpy as np
import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective, reached
from torch import Tensor

from models.objectives._maps import relative
from models.objectives.rpnet import blurred, likeness


def places(*vectors: tuple[float, float]) -> Tensor:
    """Features [1, 2, 1, w] of places in a row."""
    return torch.tensor(vectors).T[None, :, None]


def test_a_place_is_like_an_object_of_this_image_or_of_its_partner(monkeypatch):
    """By hand: image 0 has its object at (1, 0), its partner at (0, 1). A place (3, 4) is 0.6 like the one and 0.8 like the
    other; without a partner the latter does not count. With nothing drawn there are no parts.
    """
    monkeypatch.setattr(torch, "rand", lambda shape: torch.ones(shape))
    features = torch.cat([places((2, 0), (3, 4), (-1, 0)), places((5, 0), (0, 7), (-3, 4))])
    foreground = torch.tensor([[[[1.0, 0, 0]]], [[[0.0, 1, 0]]]])
    alone = likeness(features, foreground, torch.tensor([0, 1]))
    torch.testing.assert_close(alone.flatten(1), torch.tensor([[1, 0.6, 0], [0, 1, 0.8]]))
    paired = likeness(features, foreground, torch.tensor([1, 0]))
    torch.testing.assert_close(paired.flatten(1), torch.tensor([[1, 0.8, 0], [1, 1, 0.8]]))
    assert not likeness(features, torch.zeros_like(foreground), torch.tensor([1, 0])).any()


def test_a_part_of_the_foreground_is_a_prototype_too():
    """Of an object of two kinds of places, each is wholly like itself where the draw takes one of them alone."""
    features = places((1, 0), (0, 1), (1, 1))
    foreground = torch.tensor([[[[1.0, 1.0, 0.0]]]])
    torch.manual_seed(0)
    found = torch.stack([likeness(features, foreground, torch.tensor([0])).flatten() for _ in range(40)])
    torch.testing.assert_close(found[:, 2], torch.ones(40))
    first = found[:, 0]
    assert set(first.mul(100).round().tolist()) == {71, 100}


def test_a_blur_keeps_a_flat_map_and_spreads_a_place_evenly():
    """Also at the border; a mirrored map is blurred to the mirrored one."""
    flat = torch.full((2, 1, 3, 7), 0.4)
    torch.testing.assert_close(blurred(flat), flat)
    one = torch.zeros(1, 1, 9, 9)
    one[..., 4, 4] = 1
    spread = blurred(one)
    assert float(spread.sum()) == pytest.approx(1)
    assert int((spread > 0).sum()) == 25
    noise = torch.rand(1, 1, 5, 6)
    torch.testing.assert_close(blurred(noise.flip(3)), blurred(noise).flip(3))


def test_the_loss_is_the_square_of_what_the_mask_changes(monkeypatch):
    """Ten times; a mask that is the same everywhere changes nothing, and images without tags have none."""
    objective, batch = new_objective("rpnet").eval(), views([0, 3])
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    assert reached(objective, "regions") == {"backbone", "classifier"}
    cams = objective.network.evidence(objective.network.activation(batch["image"])).detach()
    mask = torch.rand(2, 1, 3, 3)
    monkeypatch.setattr("models.objectives.rpnet.blurred", lambda maps: mask)
    squares = (relative(cams) - relative(cams * mask)).square().mean(dim=(2, 3)) * batch["target"]
    found = objective(batch)["regions"].detach()
    torch.testing.assert_close(found, 10 * squares.mean())
    assert float(found) > 0
    monkeypatch.setattr("models.objectives.rpnet.blurred", lambda maps: torch.full((2, 1, 3, 3), 0.7))
    assert float(objective(batch)["regions"].detach()) < 1e-6
    monkeypatch.undo()
    assert float(objective(views([6]))["regions"].detach()) == 0


def test_pairs_share_a_batch():
    """As in the other objectives that compare two images."""
    objective = new_objective("rpnet")
    batches = objective.groups(4, np.random.default_rng(0))
    tags = objective.tags_of_images
    pairs = [(batch[k], batch[k + 1]) for batch in batches for k in (0, 2)]
    assert sum(bool((tags[one] & tags[other]).any()) for one, other in pairs) >= 3
