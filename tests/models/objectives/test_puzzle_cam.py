"""Puzzle-CAM: how tiles fit together, and what their distance is."""

import pytest
import torch
from drawn_photographs import views
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_training import new_objective

from models.objectives._tiles import cut_tiles, join_tiles, tileable_size


@settings(deadline=None)
@given(pieces=st.integers(2, 4), rows=st.integers(1, 4), columns=st.integers(1, 4), count=st.integers(1, 3))
def test_tiles_that_are_joined_are_the_image(pieces, rows, columns, count):
    """Whatever the form; pixels on a border belong to both sides."""
    images = torch.rand(count, 2, rows * pieces + 1, columns * pieces + 1)
    tiles = cut_tiles(images, pieces)
    assert tiles.shape == (pieces**2 * count, 2, rows + 1, columns + 1)
    torch.testing.assert_close(join_tiles(tiles, pieces), images)


def test_a_border_between_tiles_is_their_mean():
    """Two by two tiles of two cells: corners of one tile, edges of two, the middle of all four."""
    tiles = torch.tensor([1.0, 2.0, 4.0, 8.0])[:, None, None, None].expand(4, 1, 2, 2)
    expected = torch.tensor([[1.0, 1.5, 2.0], [2.5, 3.75, 5.0], [4.0, 6.0, 8.0]])
    torch.testing.assert_close(join_tiles(tiles, 2), expected[None, None])


@settings(deadline=None)
@given(side=st.integers(17, 400), pieces=st.integers(2, 4), stride=st.sampled_from([8, 16, 32]))
def test_a_tileable_size_has_aligned_tiles(side, pieces, stride):
    """Each tile has a side of k × stride + 1, at least one step."""
    height, width = tileable_size(side, 2 * side, stride=stride, pieces=pieces)
    for length in (height, width):
        assert (length - 1) % (stride * pieces) == 0
        assert length > stride * pieces
    assert abs(width - 2 * side) <= stride * pieces / 2 or width == stride * pieces + 1


@torch.no_grad()
def test_a_network_that_sees_single_pixels_sees_the_same_in_tiles(monkeypatch):
    """Its features are the pixels that cells are centred on: no distance, and the same tag loss twice."""
    objective = new_objective("puzzle_cam").eval()
    objective.finished.fill_(3)
    monkeypatch.setattr(objective.network, "activation", lambda x: x[..., ::16, ::16].repeat(1, 32, 1, 1) / 255)
    terms = objective(views([0, 3]))
    assert float(terms["distance"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["tags"]) == pytest.approx(float(terms["tiles"]), abs=1e-6)


@torch.no_grad()
def test_the_distance_is_that_of_the_tags_maps():
    """Of an image without tags it is 0; a real network sees its tiles otherwise than the whole."""
    objective = new_objective("puzzle_cam").eval()
    objective.finished.fill_(3)
    assert float(objective(views([6]))["distance"]) == 0
    assert float(objective(views([0]))["distance"]) > 0


@pytest.mark.parametrize(("finished", "share"), [(0, 0.0), (1, 0.5), (2, 1.0), (4, 1.0)])
def test_the_weight_rises_over_the_first_half(finished, share):
    """Of four epochs: 0, half, then all of it."""
    objective, whole = (new_objective("puzzle_cam", epochs=4).eval() for _ in range(2))
    objective.finished.fill_(finished)
    whole.finished.fill_(4)
    batch = views([0, 3])
    torch.testing.assert_close(objective(batch)["distance"], share * whole(batch)["distance"])
