"""SIPE: which places are seeds, what a prototype is, and what the maps must agree with."""

import torch
from drawn_photographs import views
from objective_training import new_objective
from torch import Tensor

from models.objectives import sipe
from models.objectives.sipe import seeds_of, similarity


def places(*rows: list[float]) -> Tensor:
    """[1, C, 1, w] of one row a channel."""
    return torch.tensor(rows)[None, :, None, :]


def test_a_place_belongs_to_the_class_whose_map_is_as_wide_as_what_looks_like_it():
    """Three alike places of which the CAM lights one: by structure all three are of the class; the fourth is background."""
    features = places([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0])
    cam = places([0.0, 0.6, 0.6, 1.0], [1.0, 0.4, 0.4, 0.0])
    shown = torch.ones(1, 2)
    # overlap of the first three: class 1.8 / (3 + 1.8 − 1.8), background ½ · 1.2 / (3 + 2.2 − 1.2)
    seeds = seeds_of(cam, features, shown)
    assert seeds[0, :, 0].tolist() == [[0, 0, 0, 1], [1, 1, 1, 0]]


def test_the_backgrounds_overlap_counts_half():
    """A place between: the background overlaps better, and still the class has it."""
    features = places([1.0, 1.0], [0.0, 0.0])
    cam = places([0.6, 0.6], [0.4, 0.4])  # overlaps 1.2 / 2 and 0.8 / 2
    assert seeds_of(cam, features, torch.ones(1, 2))[0, :, 0].tolist() == [[0, 0], [1, 1]]
    cam = places([0.9, 0.9], [0.1, 0.1])
    assert seeds_of(cam, features, torch.ones(1, 2))[0, :, 0].tolist() == [[1, 1], [0, 0]]


def test_places_that_are_compared_in_parts_have_the_same_seeds(monkeypatch):
    """As on a grid that is too large to be compared at once."""
    torch.manual_seed(0)
    cam, features, shown = torch.rand(2, 3, 4, 5), torch.randn(2, 6, 4, 5), torch.ones(2, 3)
    at_once = seeds_of(cam, features, shown)
    assert (at_once.sum(dim=(0, 2, 3)) > 0).sum() > 1
    monkeypatch.setattr(sipe, "PLACES", 3)
    assert torch.equal(seeds_of(cam, features, shown), at_once)


def test_a_class_that_is_not_shown_has_no_seeds():
    """And takes none from the others: its places are nobody's."""
    features, cam = torch.ones(1, 2, 1, 2), places([0.0, 0.0], [0.2, 0.2], [0.9, 0.9])
    seeds = seeds_of(cam, features, torch.tensor([[1.0, 1.0, 0.0]]))
    assert not seeds.any()


def test_similarity_to_the_mean_of_the_seeds_by_hand():
    """Seeds at right angles: their mean lies at 45° to both; an opposite place has no similarity; no seeds, none at all."""
    hierarchy = places([1.0, 0.0, -1.0], [0.0, 2.0, 0.0])
    alike = similarity(places([1.0, 0.0, 0.0], [0.0, 0.0, 0.0]), hierarchy)
    torch.testing.assert_close(alike[0, :, 0], torch.tensor([[1.0, 0, 0], [0, 0, 0]]), atol=1e-4, rtol=0)
    both = similarity(places([1.0, 0.5, 0.0], [0.0, 0.0, 0.0]), hierarchy)  # half of a place twice as long
    expected = torch.tensor([0.5**0.5, 0.5**0.5, 0.0])
    torch.testing.assert_close(both[0, 0, 0], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_distance_is_between_the_maps_of_tags_and_background():
    """Of an image without tags the classes' maps are 0 in both, and both backgrounds are 1 where all looks alike."""
    objective = new_objective("sipe").eval()
    batch = views([3, 0])
    found = objective.network.compare(batch["image"], batch["target"])
    torch.testing.assert_close(objective(batch)["specific"], (found.cam - found.specific).abs().mean())
    assert not found.cam[:, 1:][batch["target"] == 0].any()
    assert not found.specific[:, 1:][batch["target"] == 0].any()


def test_the_distance_moves_the_cam_and_the_hierarchys_own_layers():
    """The hierarchy's inputs get no gradient: of the backbone and the classifier only the CAM's path learns."""
    objective = new_objective("sipe")
    with torch.no_grad():
        objective.network.classifier.weight.abs_()
    objective(views([0, 3]))["specific"].backward()
    moved = {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"backbone", "classifier", "sides"}
    objective.zero_grad()
    found = objective.network.compare(views([0])["image"], views([0])["target"])
    found.specific.sum().backward()
    moved = {n.split(".")[0] for n, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {"sides"}


@torch.no_grad()
def test_its_own_maps_are_the_specific_ones_of_what_it_names():
    """A class that it does not name, which has no seeds, shows its CAM."""
    network = new_objective("sipe").network.eval()
    torch.nn.init.normal_(network.classifier.weight, std=0.3)
    image = views([3])["image"]
    found = network.compare(image, None).specific[0, 1:]
    maps = network.maps(image)[0]
    with_seeds = found.amax(dim=(1, 2)) > 0
    assert with_seeds.any()
    torch.testing.assert_close(maps[with_seeds], found[with_seeds])
    evidence = network.evidence(network.activation(image)).relu()[0]
    cams = evidence / (evidence.amax(dim=(1, 2), keepdim=True) + 1e-5)
    torch.testing.assert_close(maps[~with_seeds], cams[~with_seeds])
