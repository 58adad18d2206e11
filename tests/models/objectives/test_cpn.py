"""CPN: what is hidden where, and what the CAMs of the copies must be."""

import pytest
import torch
from drawn_photographs import views
from objective_training import new_objective
from torch import Tensor

from models.objectives import cpn
from models.objectives.cpn import random_patches, rest
from models.objectives.seam import View


def maps(*rows: list[float]) -> Tensor:
    """[1, C, 1, w] of one row a class."""
    return torch.tensor(rows)[None, :, None, :]


def test_patches_are_a_grid_of_hidden_and_shown_ones():
    """0 and 1, about as many of each, from two patches a side to the finest grid."""
    torch.manual_seed(0)
    hidden = random_patches(200, (32, 32), 4, torch.device("cpu"))
    assert set(hidden.unique().tolist()) == {0, 1}
    assert float(hidden.mean()) == pytest.approx(0.5, abs=0.05)
    coarse = random_patches(5, (32, 32), 2, torch.device("cpu"))
    for corner in (coarse[..., :16, :16], coarse[..., 16:, :16], coarse[..., :16, 16:]):
        assert torch.equal(corner, corner[..., :1, :1].expand_as(corner))


def test_what_the_image_has_beyond_one_copy_is_the_others():
    """By hand, two places: there the class keeps the first, and the background of the rest the second."""
    whole, one, other = maps([1.0, 0.5]), maps([0.25, 0.75]), maps([0.5, 0.0])
    # backgrounds 0 and 1/2, 3/4 and 1/4, 1/2 and 1; what is beyond: −3/4 and 1/4 of it, 3/4 and −1/4 of the class
    expected = torch.tensor([[abs(0 - 0.5), abs(0.25 - 1.0)], [abs(0.75 - 0.5), abs(0 - 0.0)]])
    torch.testing.assert_close(rest(whole, one, other)[0, :, 0], expected)


def copies(monkeypatch, evidence: list[Tensor]):
    """An objective whose three views have these maps; the first copy shows a quarter of the image."""
    objective = new_objective("cpn")
    hidden = torch.ones(1, 1, 33, 33)
    hidden[..., :11] = 0  # a third is shown
    monkeypatch.setattr(cpn, "random_patches", lambda *arguments: hidden)
    seen = iter(evidence)

    def view(images: Tensor) -> View:
        cam = next(seen)
        return View(torch.zeros(1, 3), cam, torch.cat([torch.zeros_like(cam[:, :1]), cam], dim=1))

    monkeypatch.setattr(objective.network, "view", view)
    return objective(views([0]))


@torch.no_grad()
def test_the_copies_cams_add_up_to_the_images(monkeypatch):
    """Times the share that each copy shows: 1/3 and 2/3 of an image of which one third carries the evidence of the copies."""
    left, right, both = (torch.zeros(1, 3, 3, 3) for _ in range(3))
    left[:, 0, :, 0], right[:, 0, :, 1] = 1, 1
    both[:, 0, :, 0], both[:, 0, :, 1] = 1 / 3, 2 / 3
    both[:, 0, 0, 1] = 1.0  # so that stretching to [0, 1] leaves the others
    terms = copies(monkeypatch, [both, left, right])
    # one of 27 places differs by 1/3, in the CAMs and in the refined CAMs
    assert float(terms["sum"]) == pytest.approx(2 * (1 / 3) / 27, abs=1e-4)
    terms = copies(monkeypatch, [both, right, right])
    assert float(terms["sum"]) == pytest.approx(2 * (5 / 3) / 27, abs=1e-4)  # nothing where the left one was


def test_each_loss_moves_its_own_part():
    """The sum moves the CAM of the image and the module; the rest moves the module alone."""
    objective = new_objective("cpn")
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    module, reached = {"embed", "embed_c3", "embed_c4"}, {}
    for term in ("tags", "min_pool", "sum", "rest"):
        objective.zero_grad()
        torch.manual_seed(1)
        objective(views([0, 3]))[term].backward()
        moved = [n for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()]
        reached[term] = {name.split(".")[0] for name in moved}
    assert reached["tags"] == {"backbone", "classifier"}
    assert reached["min_pool"] == reached["rest"] == module
    assert reached["sum"] == {"backbone", "classifier"} | module
