"""AMN: which places are labels, what the second head learns from them, and what it is told of the tags."""

import math
from typing import Any

import pytest
import torch
from drawn_photographs import LONG_SIDE, TAGS, Drawings, views
from objective_training import new_objective

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.objectives._places import balanced_loss, confident_places
from models.objectives.amn import Amn


def look(long_side: int) -> Any:
    """Every drawing, whole, in a batch of one."""
    examples = Drawings()
    for index in range(len(examples)):
        yield {name: value[None] for name, value in examples.whole(index, long_side).items()}


def begun() -> Amn:
    """An objective in the second of two epochs, whose CAMs are above 0."""
    objective = new_objective({"name": "amn", "long_side": LONG_SIDE}, epochs=2)
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    objective.after_epoch(1, look)
    return objective


def test_places_are_of_a_class_background_or_void():
    """By hand, with 0.45 and 0.15: the higher of two classes; between both thresholds, nothing."""
    cams = torch.tensor([[[[0.5, 0.9, 0.1, 0.3]], [[0.6, 0.2, 0.15, 0.44]]]])
    assert confident_places(cams, foreground=0.45, background=0.15)[0, 0].tolist() == [2, 1, 0, -1]


def test_the_loss_by_hand():
    """No evidence: ln 3 everywhere, whatever the smoothing; two background places count as much as one of a class."""
    labels = torch.tensor([[[0, 0, 2, -1]]])
    logits = torch.zeros(1, 3, 1, 4)
    assert float(balanced_loss(logits, labels, 0.4)) == pytest.approx(math.log(3), abs=1e-5)
    logits[0, 2, 0, 2] = math.log(2)  # ½ for the label, ¼ for each other
    place = -0.6 * math.log(0.5) - 0.4 * math.log(0.25)
    assert float(balanced_loss(logits, labels, 0.4)) == pytest.approx((math.log(3) + place) / 2, abs=1e-5)
    logits[0, 0, 0, 3] = 99  # void
    assert float(balanced_loss(logits, labels, 0.4)) == pytest.approx((math.log(3) + place) / 2, abs=1e-5)
    assert float(balanced_loss(logits, torch.full_like(labels, -1), 0.4)) == 0


def test_the_cams_of_every_image_are_kept_once():
    """After the first half: relative to their maxima; later epochs do not change them."""
    objective = begun()
    kept = objective.memory.maps.clone()
    highest = kept.float().amax(dim=(1, 2))
    torch.testing.assert_close(highest, torch.ones_like(highest), atol=1e-2, rtol=0)
    assert len(kept) == sum(len(tags) for tags in TAGS)
    with torch.no_grad():
        objective.network.classifier.weight.copy_(objective.network.classifier.weight.flip(1))
    objective.after_epoch(2, look)
    assert torch.equal(objective.memory.maps, kept)


@torch.no_grad()
def test_features_are_conditioned_on_the_tags():
    """Multiplied by a linear layer of them: a layer that answers to red alone shuts the features of all else."""
    network = begun().network
    torch.nn.init.zeros_(network.condition.bias)
    torch.nn.init.zeros_(network.condition.weight)
    network.condition.weight[:, 0] = 2
    features = network.activation(views([0])["image"])
    red, green = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 0]])
    assert not network.place_logits(features, green).any()  # biases are 0 at the start
    expected = sum(layer(2 * features) for layer in network.places)
    torch.testing.assert_close(network.place_logits(features, red), expected)


def test_the_second_head_learns_in_the_second_part_alone():
    """Then the loss reaches it and the backbone, and no tag head; an image without tags is background everywhere."""
    early = new_objective({"name": "amn", "long_side": LONG_SIDE}, epochs=2)
    assert early(views([0]))["places"] == 0
    objective = begun()
    objective(views([0, 3]))["places"].backward()
    moved = {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"backbone", "condition", "places"}
    for layer in objective.network.places:
        torch.nn.init.zeros_(layer.weight)
    without = objective(views([6]))["places"]
    assert float(without.detach()) == pytest.approx(math.log(4) / 2, abs=1e-5)  # places of classes there are none


@torch.no_grad()
def test_its_own_maps_are_probabilities_given_what_it_names():
    """The most probable class at least."""
    network = begun().network.eval()
    image = views([0])["image"]
    features = network.activation(image)
    logits = network.logits(features)
    named = ((logits > 0) | (logits == logits.max())).float()
    expected = network.place_logits(features, named).softmax(dim=1)[:, 1:]
    torch.testing.assert_close(network.maps(image), expected)


def test_wrong_knobs_and_too_few_epochs_are_refused():
    """Before anything runs."""
    with pytest.raises(ParamsError, match="background must be below foreground"):
        choose("models.objectives", {"name": "amn", "foreground": 0.1})
    with pytest.raises(ParamsError, match="the training has 1 epochs"):
        new_objective("amn", epochs=1)
