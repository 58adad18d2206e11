"""Pixel-to-prototype contrast: what a prototype is, what places are compared with, and that SEAM's losses stay."""

import math

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective

from models.objectives.pixel_to_prototype import class_mean, contrast, places_of


def test_a_place_is_of_its_highest_tag_or_of_the_background():
    """Stretched CAMs against 0.2; a class that is no tag has no place and no prototype."""
    refined = torch.zeros(1, 4, 1, 8)
    refined[0, 1, 0] = torch.tensor([0.0, 1, 2, 3, 4, 5, 10, 8])
    refined[0, 2, 0, 0] = 3
    refined[0, 3, 0, 1] = 9
    projected = torch.eye(8)[None, :, None]
    places = places_of(projected, refined, torch.tensor([[1.0, 1.0, 0.0]]), 0.2)
    assert places.labels.tolist() == [2, 0, 0, 1, 1, 1, 1, 1]  # 0.2 is not above 0.2
    # one place, an eighth of eight, makes each prototype: the background's is where 1 − the highest is largest
    assert places.prototypes.argmax(dim=1)[:3].tolist() == [1, 6, 0]
    assert not places.prototypes[3].any()


def test_a_prototype_is_the_mean_by_cam_of_the_best_places_of_the_batch():
    """Two of 2 × 16 places: one in each image, weighted by their CAM; it gets no gradient."""
    refined = torch.zeros(2, 2, 1, 16)
    refined[0, 1, 0, 0] = refined[1, 1, 0, 1] = 4
    refined[1, 1, 0, 0] = 2
    projected = torch.rand(2, 3, 1, 16, requires_grad=True)
    places = places_of(projected, refined, torch.ones(2, 1), 0.2)
    assert places.features.requires_grad
    assert not places.prototypes.requires_grad
    expected = (projected[0, :, 0, 0] + projected[1, :, 0, 1]).detach()
    torch.testing.assert_close(places.prototypes[1], expected / expected.norm(), atol=1e-4, rtol=1e-4)


def test_a_contrast_by_hand():
    """A place on its prototype, another at right angles: e against e + 1; a class without prototype costs nothing."""
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    losses = contrast(torch.tensor([[1.0, 0.0]] * 3), torch.tensor([0, 1, 2]), prototypes, 0.5)
    both = math.log(math.exp(2) + 1)
    torch.testing.assert_close(losses, torch.tensor([both - 2, both, 0.0]))


def test_a_mean_over_classes_counts_each_once():
    """Three places of one class and one of another."""
    losses = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert float(class_mean(losses, torch.tensor([0, 0, 0, 2]))) == pytest.approx((2 + 10) / 2)


@torch.no_grad()
def test_seams_losses_are_seams():
    """The same values for the same network."""
    objective, plain = new_objective("pixel_to_prototype").eval(), new_objective("seam").eval()
    plain.network.load_state_dict(objective.network.state_dict(), strict=False)
    batch = views([0, 3])
    terms = objective(batch)
    for name, value in plain(batch).items():
        torch.testing.assert_close(terms[name], value)
    assert list(terms)[-3:] == ["cross", "swapped", "intra"]


def test_contrasts_move_features_and_projection_alone():
    """Neither the CAM's layer nor SEAM's module; the weight is a factor of each."""
    objective, batch = new_objective("pixel_to_prototype").eval(), views([0, 3])
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    for term in ("cross", "swapped", "intra"):
        objective.zero_grad()
        objective(batch)[term].backward()
        moved = {
            n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()
        }
        assert moved == {"backbone", "project"}
    other = new_objective({"name": "pixel_to_prototype", "weight": 0.3}).eval()
    other.network.load_state_dict(objective.network.state_dict())
    for name, value in objective(batch).items():
        factor = 3 if name in ("cross", "swapped", "intra") else 1
        torch.testing.assert_close(other(batch)[name], factor * value)
