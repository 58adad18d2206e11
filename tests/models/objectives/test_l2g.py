"""L2G: which crops are seen, that their cells are those of the whole, and what the head for whole images learns."""

import pytest
import torch
from drawn_photographs import views
from hypothesis import given
from hypothesis import strategies as st
from objective_training import new_objective, reached

from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives.l2g import crop_cells, crop_places, cut, local_targets


def test_targets_by_hand():
    """A place has its strongest tag alone, relative to that tag's maximum, and the background for the rest."""
    evidence = torch.tensor([[[[4.0, 2.0, 0.0]], [[1.0, 3.0, -1.0]], [[9.0, 9.0, 9.0]]]])
    expected = torch.tensor([[[[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    targets = local_targets(evidence, torch.tensor([[1.0, 1.0, 0.0]]))
    torch.testing.assert_close(targets, expected, atol=1e-4, rtol=0)
    assert local_targets(evidence, torch.zeros(1, 3))[0, :, 0].tolist() == [[1, 1, 1], *[[0, 0, 0]] * 3]


@given(rows=st.integers(1, 30), columns=st.integers(1, 30), share=st.floats(0.05, 0.95), count=st.integers(1, 9))
def test_crops_lie_in_the_grid_and_in_its_corners_first(rows, columns, share, count):
    """All of one size, two cells at least where there are two."""
    sides = [crop_cells(rows, share), crop_cells(columns, share)]
    assert all(min(2, cells) <= side <= cells for side, cells in zip(sides, (rows, columns), strict=True))
    places = crop_places((rows, columns), sides, count)
    assert len(places) == count
    bottom, right = rows - sides[0], columns - sides[1]
    assert places[:4] == [(0, 0), (0, right), (bottom, 0), (bottom, right)][:count]
    assert all(0 <= top <= bottom and 0 <= left <= right for top, left in places)


def test_a_crop_of_320_of_448_pixels():
    """In cells of a grid of stride 16: 21 of 29; with two crops at random places that change."""
    assert crop_cells(29, 0.714) == 21
    torch.manual_seed(0)
    drawn = {tuple(crop_places((29, 29), (21, 21), 6)[4:]) for _ in range(5)}
    assert len(drawn) > 1


@torch.no_grad()
def test_cells_of_a_crop_are_those_of_the_whole(monkeypatch):
    """A network that sees single pixels gives a crop the values that the whole has there; of every crop come all images."""
    objective, batch = new_objective({"name": "l2g", "share": 0.5, "patches": 5}), views([0, 3])
    seen = []
    objective.network.activation = lambda x: seen.append(x) or x[..., ::16, ::16].repeat(1, 32, 1, 1) / 255
    corners = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 1)]
    monkeypatch.setattr("models.objectives.l2g.crop_places", lambda grid, sides, count: corners)
    objective(batch)
    whole, crops = (x[..., ::16, ::16] for x in seen)
    assert crops.shape == (10, 3, 2, 2)
    assert torch.equal(crops, cut(whole, corners, (2, 2)))
    assert torch.equal(crops[3], whole[1, :, :2, 1:])


@torch.no_grad()
def test_the_head_learns_the_crops_maps_of_the_whole():
    """Ten times the mean square, put together by other means; a crop has the tags of its image."""
    objective, batch = new_objective("l2g").eval(), views([0, 3])
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    torch.manual_seed(3)
    terms = objective(batch)
    torch.manual_seed(3)
    places, network = crop_places((3, 3), (2, 2), 6), objective.network
    whole = network.probabilities(network.activation(batch["image"]))
    squares, local = [], []
    for top, left in places:
        crop = batch["image"][..., 16 * top : 16 * top + 17, 16 * left : 16 * left + 17]
        features = network.activation(crop)
        expected = local_targets(network.evidence(features), batch["target"])
        squares.append((whole[..., top : top + 2, left : left + 2] - expected).square().mean())
        local.append(multilabel_soft_margin(network.logits(features), batch["target"]))
    torch.testing.assert_close(terms["transfer"], 10 * torch.stack(squares).mean())
    torch.testing.assert_close(terms["local"], torch.stack(local).mean())
    image = batch["image"]
    torch.testing.assert_close(network.maps(image), network.probabilities(network.activation(image))[:, 1:])


def test_the_crops_teach_the_head_and_not_the_other_way_round():
    """The linear layer has no gradient from the difference."""
    objective = new_objective("l2g")
    torch.nn.init.normal_(objective.network.classifier.weight, std=0.3)
    assert reached(objective, "transfer") == {"backbone", "whole"}
    assert reached(objective, "local") == {"backbone", "classifier"}


def test_no_patches_are_refused():
    """The head would learn nothing."""
    with pytest.raises(Exception, match="patches"):
        new_objective({"name": "l2g", "patches": 0})
