"""ICD: the direction that divides the places of a class, its side, and what the head learns from it."""

import math

import pytest
import torch
import torch.nn.functional as F
from drawn_photographs import views
from objective_training import later, new_objective, reached

from models.objectives.icd import Known, division_loss, normalised, projected, sure_places, unexplained


def test_places_are_sure_far_from_the_border():
    """By hand, with ⅕: of the projections 5, 1.1, 0.9, −0.1, −1 the border passes between, and two are too near to it."""
    objects, sure = sure_places(torch.tensor([[[[5.0, 1.1, 0.9, -0.1, -1.0]]]]), 0.2)
    assert objects.flatten().tolist() == [1, 1, 1, 0, 0]
    assert sure.flatten().tolist() == [1, 1, 0, 0, 1]


def test_the_loss_by_hand():
    """No evidence: ln 2 at each sure place, divided by all four places; two tags of an image add up, images are a mean."""
    logits = torch.zeros(2, 2, 1, 4)
    known = Known(torch.ones(2, 2, 1, 4), torch.tensor([[[[1.0, 1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0, 0.0]]]] * 2))
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert float(division_loss(logits, known, target)) == pytest.approx((3 + 1) / 4 * math.log(2) / 2, abs=1e-5)


def test_features_are_normalised_over_the_batch():
    """Mean 0 and deviation 1 in each channel."""
    features = torch.rand(3, 4, 5, 6) * torch.tensor([1.0, 10, 0.1, 5]).view(1, 4, 1, 1) + 7
    places = normalised(features).transpose(0, 1).flatten(1)
    torch.testing.assert_close(places.mean(dim=1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(places.std(dim=1), torch.ones(4), atol=1e-2, rtol=0)


def test_a_direction_becomes_that_in_which_places_differ_most():
    """Down its loss: the first principal direction, by the eigenvectors; what is left then is what the others explain."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(1, 5, 4, 6, generator=generator) * torch.tensor([1.0, 3, 0.5, 1, 0.2]).view(1, 5, 1, 1)
    directions = torch.randn(2, 5, generator=generator, requires_grad=True)
    for _ in range(40):
        left = unexplained(places, projected(places, directions)).sum()
        directions = directions - 3 * torch.autograd.grad(left, directions)[0]
    values, vectors = torch.linalg.eigh(torch.einsum("dhw,ehw->de", places[0], places[0]))
    assert (F.normalize(directions.detach(), dim=1) @ vectors[:, -1]).abs().tolist() == pytest.approx([1, 1], abs=1e-2)
    left = unexplained(places, projected(places, directions)).detach()
    assert left[0].tolist() == pytest.approx([float(values[:-1].sum() / values.sum())] * 2, abs=1e-3)


def test_only_images_with_one_tag_teach_a_direction():
    """Its class alone: image 1 shows green; image 3 shows red and green."""
    objective = new_objective("icd")
    objective(views([1, 3]))["directions"].backward()
    taught = objective.directions.grad.any(dim=1)
    assert taught.tolist() == [False, True, False]
    assert float(objective(views([3]))["directions"].detach()) == 0


@torch.no_grad()
def test_the_side_with_the_higher_cam_is_the_object():
    """The sign is turned where the CAM lies on the negative side; a moving mean decides, which other classes leave."""
    objective = new_objective({"name": "icd", "momentum": 0.5}).train()
    projections = torch.tensor([[[[2.0, -1.0, -3.0]]]]).expand(1, 3, 1, 3)
    cams = torch.tensor([[[[0.0, 4.0, 6.0]], [[4.0, 0.0, 0.0]], [[0.0, 9.0, 9.0]]]])
    target = torch.tensor([[1.0, 1.0, 0.0]])
    signed = objective.signed(projections, cams, target)
    assert signed[0, :, 0].tolist() == [[-2, 1, 3], [2, -1, -3], [2, -1, -3]]
    assert objective.sides.tolist() == [[0, 2.5], [2, 0], [0, 0]]
    turned = objective.signed(
        projections, cams.flip(3), target
    )  # the mean of the positive side: 6, of the negative one: 2
    assert objective.sides[0].tolist() == [3, 2.25]
    assert turned[0, 0, 0].tolist() == [2, -1, -3]
    objective.eval().signed(projections, cams, target)
    assert objective.sides[0].tolist() == [3, 2.25]


def test_the_head_learns_slowly_at_first_and_from_projections_without_their_gradient():
    """e⁻¹⁰ in the first of twenty epochs, half of the warm-up later e⁻⁵."""
    batch, losses = views([0, 3]), []
    objective = new_objective("icd", epochs=20).eval()
    for epoch in (0, 1, 2):
        losses.append(float(later(objective, epoch)(batch)["head"].detach()))
    assert losses[1] / losses[2] == pytest.approx(math.exp(-5), rel=1e-3)
    assert losses[0] / losses[2] == pytest.approx(math.exp(-10), rel=1e-3)
    assert reached(objective, "head") == {"backbone", "first", "second", "divide"}
    assert reached(objective, "directions") == {"directions"}


@torch.no_grad()
def test_the_map_is_the_probability_of_the_head():
    """One half where it sees nothing."""
    network = new_objective("icd").network.eval()
    image = views([3])["image"]
    torch.testing.assert_close(network.maps(image), network.division(network.activation(image)).sigmoid())
    torch.nn.init.zeros_(network.divide.weight)
    assert (network.maps(image) == 0.5).all()
