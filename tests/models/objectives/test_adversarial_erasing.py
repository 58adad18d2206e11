"""Adversarial erasing: what is erased, and that the rest is classified by the same tags."""

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective
from single_pixels import red, see_pixels

from models.losses.multilabel_soft_margin import multilabel_soft_margin


def looking_left(threshold: float = 0.6, rounds: int = 1, weight: float = 1.0):
    """An objective whose network sees single pixels; its evidence of red is how red they are, less their green."""
    knobs = {"threshold": threshold, "rounds": rounds, "weight": weight}
    return see_pixels(new_objective({"name": "adversarial_erasing", **knobs}).eval())


@torch.no_grad()
def test_the_peak_is_erased_and_the_rest_is_classified():
    """The reddest third of the image becomes grey; the second place, of half its red, stays."""
    objective, target = looking_left(), torch.tensor([[1.0, 0, 0]])
    image = red(200, 100, 0)
    terms = objective({"image": image, "target": target})
    peak = objective.peaks(objective.network.activation(image), target, (33, 33))
    assert peak[..., :4].all()
    assert not peak[..., 13:].any()  # below 0.6 from pixel 12.8 on
    erased = torch.where(peak > 0, torch.full_like(image, 127), image)
    torch.testing.assert_close(terms["erased"], multilabel_soft_margin(objective.network(erased), target))
    assert float(terms["erased"]) > float(terms["tags"])


@torch.no_grad()
def test_a_second_round_erases_what_the_first_has_left():
    """Then the second place is the reddest; `erased` is the mean of both rounds."""
    target, image = torch.tensor([[1.0, 0, 0]]), red(200, 100, 0)
    once, twice = (looking_left(rounds=rounds)({"image": image, "target": target})["erased"] for rounds in (1, 2))
    objective = looking_left()
    gone = objective.peaks(objective.network.activation(image), target, (33, 33))
    second = torch.where(gone > 0, torch.full_like(image, 127), image)
    gone = torch.maximum(gone, objective.peaks(objective.network.activation(second), target, (33, 33)))
    third = torch.where(gone > 0, torch.full_like(image, 127), image)
    assert gone[..., 14:18].all()
    torch.testing.assert_close(2 * twice - once, multilabel_soft_margin(objective.network(third), target))


@torch.no_grad()
def test_an_image_without_tags_is_not_erased():
    """Its two losses are the same."""
    terms = looking_left()({"image": red(200, 100, 0), "target": torch.zeros(1, 3)})
    assert float(terms["erased"]) == pytest.approx(float(terms["tags"]), abs=1e-6)


def test_what_is_erased_gets_no_gradient():
    """The network learns by both losses, but not to move what it erases: a weight scales the gradient of `erased` alone."""
    objective = new_objective("adversarial_erasing")
    batch = views([0, 3])
    features = objective.network.activation(batch["image"])
    assert not objective.peaks(features, batch["target"], (33, 33)).requires_grad
    objective(batch)["erased"].backward()
    assert objective.network.classifier.weight.grad.any()
