"""GAIN: what is masked, and whose probability counts."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective

from models.objectives import gain
from models.objectives._erasing import erasing_mask
from models.objectives.gain import soft_mask


def mining(**knobs):
    """An objective that mines attention from the start."""
    objective = new_objective({"name": "gain", "start": 0, **knobs}).eval()
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    return objective


def test_the_mask_is_soft_around_its_threshold():
    """One half at it; attention of 1 is masked by σ(5), none by σ(−5)."""
    mask = soft_mask(torch.tensor([0.0, 0.5, 1.0]), steepness=10, threshold=0.5)
    sigmoid = 1 / (1 + math.exp(-5))
    torch.testing.assert_close(mask, torch.tensor([1 - sigmoid, 0.5, sigmoid]))


@torch.no_grad()
def test_the_tags_probability_in_the_rest_is_the_loss():
    """Put together by other means; of an image with one tag it is that tag's, whatever is drawn."""
    objective, batch = mining(), views([0])
    evidence = objective.network.evidence(objective.network.activation(batch["image"]))[:, :1]
    mask = torch.sigmoid(10 * (erasing_mask(evidence, stride=16, size=(33, 33)) - 0.5))
    rest = batch["image"] * (1 - mask) + 127 * mask
    expected = objective.network(rest)[0, 0].sigmoid()
    torch.testing.assert_close(objective(batch)["mining"], expected)
    twice = mining(weight=2.0)
    twice.network.load_state_dict(objective.network.state_dict())
    torch.testing.assert_close(twice(batch)["mining"], 2 * expected)


@torch.no_grad()
def test_one_tag_at_a_time_is_masked_and_counts(monkeypatch):
    """Of two tags the drawn one, put together by other means; an image without tags adds 0 to the mean of two."""
    drawn = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    objective, batch = mining(), views([3, 6])
    monkeypatch.setattr(gain, "sample_tag", lambda target: drawn)
    evidence = objective.network.evidence(objective.network.activation(batch["image"][:1]))[:, 1:2]
    mask = torch.sigmoid(10 * (erasing_mask(evidence, stride=16, size=(33, 33)) - 0.5))
    rest = batch["image"][:1] * (1 - mask) + 127 * mask
    torch.testing.assert_close(objective(batch)["mining"], objective.network(rest)[0, 1].sigmoid() / 2)


def test_attention_grows_where_the_tag_is_still_seen():
    """The gradient passes through the mask, also where the stem is frozen as here, and the stem stays frozen."""
    attention = torch.tensor([0.4], requires_grad=True)
    (1 - soft_mask(attention, steepness=10, threshold=0.5)).sum().backward()
    assert float(attention.grad) < 0
    objective, batch = mining(), views([0, 3])
    seen = []
    inner = gain.soft_mask

    def watched(attention, **knobs):
        attention.retain_grad()
        seen.append(attention)
        return inner(attention, **knobs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gain, "soft_mask", watched)
        objective(batch)["mining"].backward()
    assert seen[0].grad.any()
    assert objective.network.backbone.frozen


def test_the_first_epochs_learn_from_the_tags_alone():
    """Half of them by default."""
    objective, batch = new_objective("gain", epochs=4), views([0, 3])
    found = []
    for epoch in range(4):
        found.append(float(objective(batch)["mining"].detach()) > 0)
        objective.after_epoch(epoch + 1, lambda size: iter(()))
    assert found == [False, False, True, True]
