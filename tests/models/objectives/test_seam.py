"""SEAM: what its module refines, what each of its losses sees, and what each of them moves."""

import pytest
import torch
from drawn_photographs import views
from objective_training import architecture, new_objective
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import choose
from models.classifier import classifier_from
from models.grids import aligned_size
from models.objectives import _pixel_correlation, seam
from models.objectives._pixel_correlation import correlate, seeds_of, with_background
from models.objectives.seam import SeamClassifier, hardest_mean, lowest_mean, stretch


def maps(*rows: list[float]) -> Tensor:
    """[1, C, 1, w] of one row a class."""
    return torch.tensor(rows)[None, :, None, :]


def gradients(objective: seam.Seam, term: str) -> set[str]:
    """The parts of the network that a term's gradient reaches, by the first word of their parameters' names."""
    objective.zero_grad()
    objective(views([0, 3]))[term].backward()
    return {
        name.split(".")[0] for name, p in objective.network.named_parameters() if p.grad is not None and p.grad.any()
    }


# --- the module


def test_a_place_takes_the_mean_of_the_places_that_look_like_it():
    """Three places by hand: the first two look alike, the third is at right angles to both and keeps its own."""
    embedding = maps([1.0, 2.0, 0.0], [0.0, 0.0, 3.0])
    refined = correlate(maps([0.2, 0.6, 1.0], [0.8, 0.0, 0.0]), embedding)
    torch.testing.assert_close(refined, maps([0.4, 0.4, 1.0], [0.4, 0.4, 0.0]), atol=1e-4, rtol=0)


def test_places_that_look_opposite_take_nothing_from_each_other():
    """Only the positive part of the cosine weighs; at 60° the weight is one half."""
    refined = correlate(maps([1.0, 0.0]), maps([1.0, -1.0]))
    torch.testing.assert_close(refined, maps([1.0, 0.0]), atol=1e-4, rtol=0)
    refined = correlate(maps([1.0, 0.0]), maps([1.0, 0.5], [0.0, 0.75**0.5]))
    torch.testing.assert_close(refined, maps([2 / 3, 1 / 3]), atol=1e-4, rtol=0)


def test_the_mean_keeps_a_flat_field_and_its_range(monkeypatch):
    """Whatever the embedding; and taken in parts it is the same."""
    torch.manual_seed(0)
    embedding, seeds = torch.randn(2, 8, 5, 4), torch.rand(2, 3, 5, 4)
    flat = correlate(torch.full((2, 1, 5, 4), 0.7), embedding)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.7), atol=1e-4, rtol=0)
    refined = correlate(seeds, embedding)
    assert ((refined >= 0) & (refined <= 1)).all()
    monkeypatch.setattr(_pixel_correlation, "PLACES", 3)
    torch.testing.assert_close(correlate(seeds, embedding), refined)


def test_of_two_classes_the_higher_keeps_a_place_and_the_background_has_the_rest():
    """Relative to each class's own maximum; negative evidence counts for nothing."""
    seeds = seeds_of(maps([4.0, 2.0, -1.0], [0.5, 1.0, 0.0]))
    torch.testing.assert_close(seeds, maps([0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]), atol=1e-4, rtol=0)


# --- the losses


def test_maps_are_stretched_from_their_least_to_their_highest():
    """Negative parts count as 0, and a flat map is 0 everywhere."""
    stretched = stretch(maps([-3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]))
    torch.testing.assert_close(stretched, maps([0, 0.5, 1], [0, 0.5, 1], [0.0, 0, 0]), atol=1e-4, rtol=0)


def test_only_the_largest_differences_count_image_by_image():
    """40 % of five: the two largest of each image; 100 %: the mean."""
    differences = torch.tensor([[1.0, 5, 2, 3, 4], [0.0, 0, 1, 0, 0]]).view(2, 1, 1, 5)
    assert float(hardest_mean(differences, 0.4)) == pytest.approx((4.5 + 0.5) / 2)
    assert float(hardest_mean(differences, 1.0)) == pytest.approx((3 + 0.2) / 2)


def test_the_lowest_places_should_show_no_class():
    """A quarter of four places: the one whose highest class is the lowest."""
    assert float(lowest_mean(maps([0.9, 0.1, 0.5, 0.0], [0.0, 0.3, 0.2, 0.8]), 0.25)) == pytest.approx(0.3)
    assert float(lowest_mean(maps([0.9, 0.0, 0.5, 0.7]), 0.25)) == 0


def test_two_views_that_agree_have_no_loss_but_that_of_the_tags(monkeypatch):
    """CAMs and refined CAMs of one object, alike in both views: ER, ECR and min-pool are 0; where one view differs, by hand.

    The grid is 3 × 3 and 2 × 2; the object lies in the first column, and a map of whole columns keeps its ends.
    """
    objective = new_objective("seam")
    batch = {"image": torch.zeros(1, 3, 33, 33), "target": torch.tensor([[1.0, 0, 0]]), "index": torch.tensor([0])}

    def view_of(first: float) -> seam.View:
        wide = torch.tensor([first, 0.0, 0.0] if first else [0.0, 0.0, 1.0])
        cam = wide.expand(3, 3)
        empty = torch.zeros(1, 3, 3, 3)
        empty[0, 0] = cam
        return seam.View(torch.zeros(1, 3), empty, with_background(empty))

    def small(view: seam.View) -> seam.View:
        return seam.View(view.logits, view.evidence[..., ::2, ::2], view.refined[..., ::2, ::2])

    pair = iter([view_of(1.0), small(view_of(1.0)), view_of(1.0), small(view_of(0.0))])
    monkeypatch.setattr(objective.network, "view", lambda images: next(pair))
    terms = objective(batch)
    assert float(terms["tags"]) == pytest.approx(0.6931, abs=1e-4)
    assert [float(terms[name]) for name in ("er", "ecr", "min_pool")] == pytest.approx([0, 0, 0], abs=1e-4)
    terms = objective(batch)
    assert float(terms["er"]) == pytest.approx(4 / 12, abs=1e-4)  # 4 places of one of three classes differ by 1
    assert float(terms["ecr"]) == pytest.approx(2, abs=1e-4)  # the largest 3 of 16 differences, twice
    assert float(terms["min_pool"]) == 0


def test_what_is_not_tagged_is_in_no_difference():
    """Without tags ER is 0, and ECR compares the background alone, which is 1 everywhere in the CAM."""
    with torch.no_grad():
        terms = new_objective("seam")(views([6]))
    assert float(terms["er"]) == 0
    assert float(terms["min_pool"]) == 0
    assert 0 <= float(terms["ecr"]) <= 2


def test_each_loss_moves_its_own_part():
    """ER moves the CAM and not the module; ECR and min-pool move the module and not the CAM; tags leave the module alone."""
    objective = new_objective("seam")
    with torch.no_grad():
        objective.network.classifier.weight.abs_()  # CAMs above 0, so that there is something to move
    module = {"embed", "embed_c3", "embed_c4"}
    assert gradients(objective, "tags") == {"backbone", "classifier"}
    assert gradients(objective, "er") == {"backbone", "classifier"}
    assert gradients(objective, "ecr") == module
    assert gradients(objective, "min_pool") == module


# --- views, knobs and the network that is kept


@pytest.mark.parametrize(("crop", "scale", "expected"), [(65, 0.3, (65, 17)), (65, 0.6, (65, 33)), (40, 0.3, (33, 17))])
def test_both_views_lie_straight_on_the_grid(monkeypatch, crop, scale, expected):
    """Sides of 16 k + 1; the corners of the small view are those of the image."""
    objective = new_objective(choose("models.objectives", {"name": "seam", "scale": scale}))
    seen: list[Tensor] = []
    straight = objective.network.view
    monkeypatch.setattr(objective.network, "view", lambda images: seen.append(images) or straight(images))
    image = torch.rand(1, 3, crop, crop) * 255
    objective({"image": image, "target": torch.ones(1, 3), "index": torch.tensor([0])})
    assert tuple(images.shape[-1] for images in seen) == expected
    assert aligned_size(crop, crop, stride=16) == seen[0].shape[-2:]
    torch.testing.assert_close(seen[1][..., ::16, ::16][..., 0, 0], seen[0][..., 0, 0])
    torch.testing.assert_close(seen[1][..., -1, -1], seen[0][..., -1, -1])


@pytest.mark.parametrize("knobs", [{"scale": 1}, {"scale": 0}, {"hardest": 0}, {"hardest": 1.1}, {"lowest": 0}])
def test_knobs_out_of_range_are_refused(knobs):
    """Before anything runs."""
    with pytest.raises(ParamsError, match=next(iter(knobs))):
        choose("models.objectives", {"name": "seam", **knobs})


def test_the_kept_network_carries_its_module():
    """Its maps are refined, in [0, 1], other than its CAMs, and those of the network that was trained."""
    network = new_objective("seam").network.eval()
    rebuilt = classifier_from(architecture("seam"), network.state_dict())
    assert isinstance(rebuilt, SeamClassifier)
    image = views([3])["image"]
    own = rebuilt.maps(image)
    assert own.shape == (1, 3, 3, 3)
    assert ((own >= 0) & (own <= 1)).all()
    torch.testing.assert_close(own, network.maps(image), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(own, rebuilt.evidence(rebuilt.activation(image)).relu(), atol=1e-2)
