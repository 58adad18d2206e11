"""Mixup-CAM: what is blended, and what makes a map certain."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective

from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import mixup_cam
from models.objectives.mixup_cam import class_entropy, concentration


def test_images_and_tags_are_blended_in_the_same_shares(monkeypatch):
    """A quarter of each image and three quarters of the other: the loss of that image against these tags."""
    monkeypatch.setattr(mixup_cam, "beta_shares", lambda count, alpha, device: torch.tensor([0.25, 1.0]))
    monkeypatch.setattr(mixup_cam, "other_images", lambda count, device: torch.tensor([1, 0]))
    objective, batch = new_objective("mixup_cam").eval(), views([0, 4])
    first, second = batch["image"]
    blended = torch.stack([0.25 * first + 0.75 * second, second])
    tags = torch.tensor([[0.25, 0.75, 0.75], [0.0, 1.0, 1.0]])
    expected = multilabel_soft_margin(objective.network(blended), tags)
    torch.testing.assert_close(objective(batch)["tags"], expected)


def test_entropy_by_hand():
    """No evidence: ln 3; one class far above: nothing; the mean of both places."""
    evidence = torch.zeros(1, 3, 1, 2)
    evidence[0, 1, 0, 1] = 50
    assert float(class_entropy(evidence)) == pytest.approx(math.log(3) / 2, abs=1e-5)


def test_concentration_by_hand():
    """Mass at both ends of four columns lies 3/8 from the centre; in one place, or without a tag, it costs nothing."""
    evidence = torch.zeros(1, 3, 2, 4)
    evidence[0, 0, 0, [0, 3]] = 5
    evidence[0, 1, 1, 2] = 7
    evidence[0, 2, :, 0] = torch.tensor([1.0, -9.0])
    far = torch.tensor([[1.0, 1.0, 1.0]])
    assert float(concentration(evidence, far)) == pytest.approx((3 / 8) ** 2 / 3, abs=1e-5)
    assert float(concentration(evidence, torch.tensor([[0.5, 1.0, 1.0]]))) == pytest.approx((3 / 8) ** 2 / 6, abs=1e-5)
    assert float(concentration(evidence, torch.tensor([[0.0, 1.0, 1.0]]))) == pytest.approx(0, abs=1e-5)
    turned = concentration(evidence.transpose(2, 3), far)  # along the other axis alike
    assert float(turned) == pytest.approx((3 / 8) ** 2 / 3, abs=1e-5)


@torch.no_grad()
def test_each_weight_multiplies_its_term():
    """Shares and order are the same for the same seed."""
    batch, terms = views([0, 4, 6]), []
    for knobs in ({}, {"entropy_weight": 0.04, "concentration_weight": 0.0}):
        torch.manual_seed(3)
        terms.append(new_objective({"name": "mixup_cam", **knobs}).eval())
        torch.manual_seed(4)
        terms[-1] = terms[-1](batch)
    torch.testing.assert_close(terms[1]["entropy"], 2 * terms[0]["entropy"])
    assert float(terms[1]["concentration"]) == 0
