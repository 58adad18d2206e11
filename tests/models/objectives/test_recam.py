"""ReCAM: how features are pooled for a class, and what the second layer learns from them."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective

from models.objectives.recam import pool_by_class, single_class_loss


def test_features_are_pooled_where_a_class_lies():
    """Two places, two channels: a map of 1 and ½ takes the first whole and the second by half, over both places."""
    features = torch.tensor([[[[4.0, 2.0]], [[0.0, 8.0]]]])
    maps = torch.tensor([[[[1.0, 0.5]], [[0.0, 0.0]]]])
    expected = torch.tensor([[[(4 + 1) / 2, 4 / 2], [0.0, 0.0]]])
    torch.testing.assert_close(pool_by_class(features, maps), expected)


def test_the_loss_by_hand():
    """No evidence: ln 3 for each tag; the mean over the tags of an image, then over images, one of which has none."""
    logits = torch.zeros(3, 3, 3)
    target = torch.tensor([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert float(single_class_loss(logits, target)) == pytest.approx(2 / 3 * math.log(3), abs=1e-5)
    logits[0, 0, 0], logits[0, 1, 1] = math.log(2), math.log(6)  # of image 0, tag 0 gets 2 of 4, tag 1 gets 6 of 8
    expected = ((math.log(2) + math.log(8 / 6)) / 2 + math.log(3)) / 3
    assert float(single_class_loss(logits, target)) == pytest.approx(expected, abs=1e-5)
    logits[0, 2] = 99  # pooled for a class that is no tag
    assert float(single_class_loss(logits, target)) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_each_row_of_logits_is_the_second_layer_on_that_classes_features(monkeypatch):
    """Seen at the loss: class by class, layer times pooled features."""
    objective = new_objective({"name": "recam", "start": 0}).eval()
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    batch, seen = views([0, 3]), []
    monkeypatch.setattr(
        "models.objectives.recam.single_class_loss", lambda logits, target: seen.append(logits) or logits.sum()
    )
    objective(batch)
    features = objective.network.activation(batch["image"])
    evidence = objective.network.evidence(features).relu()
    maps = evidence / (evidence.amax(dim=(2, 3), keepdim=True) + 1e-5)
    for image in range(2):
        for c in range(3):
            pooled = (features[image] * maps[image, c]).mean(dim=(1, 2))
            expected = objective.network.single.weight[:, :, 0, 0] @ pooled
            torch.testing.assert_close(seen[0][image, c], expected, rtol=1e-4, atol=1e-5)


def test_it_begins_after_its_share_of_the_epochs_and_moves_both_layers():
    """Of four epochs two are on tags alone; then the CAM learns too, since it weighs the features."""
    objective, batch = new_objective("recam", epochs=4), views([0, 3])
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    assert objective(batch)["single"] == 0
    objective.after_epoch(2, lambda size: iter(()))
    objective(batch)["single"].backward()
    moved = {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"backbone", "classifier", "single"}


@torch.no_grad()
def test_its_own_maps_are_those_of_both_layers_multiplied():
    """Weight by weight, then ReLU."""
    network = new_objective("recam").network.eval()
    image = views([0])["image"]
    features = network.activation(image)
    weights = network.single.weight[:, :, 0, 0] * network.weight
    expected = torch.einsum("cd,bdhw->bchw", weights, features).relu()
    torch.testing.assert_close(network.maps(image), expected, atol=1e-5, rtol=1e-4)
