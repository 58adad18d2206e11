"""Superpixels: laws of regions, a picture of two colours, and the joining of regions of one colour."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from noisy_photograph import photograph
from scipy import ndimage

from labelfactory.errors import ShapeError
from models.superpixels import merged_by_colour, region_means, superpixels

SMALL = settings(deadline=None, max_examples=25)
KNOBS = {"regions": 12, "compactness": 10.0}


def borders(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where two neighbours have different labels: [H, W − 1] and [H − 1, W]."""
    return labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]


def parts_of_each(labels: np.ndarray) -> list[int]:
    """The number of 4-connected parts of each label."""
    return [ndimage.label(labels == label)[1] for label in range(labels.max() + 1)]


@given(
    height=st.integers(1, 23),
    width=st.integers(1, 23),
    regions=st.integers(1, 600),
    compactness=st.sampled_from([0.01, 10.0, 100.0]),
    seed=st.integers(0, 9),
)
@SMALL
def test_regions_are_connected_and_cover_every_pixel(height, width, regions, compactness, seed):
    """Whatever the size of the photograph and the number of centres, more than there are pixels too."""
    labels = superpixels(photograph(height, width, seed), regions=regions, compactness=compactness)
    assert labels.shape == (height, width)
    assert labels.min() == 0
    assert set(parts_of_each(labels)) == {1}


@pytest.mark.parametrize("edge", [13, 20, 31])
def test_a_picture_of_two_colours_is_cut_at_its_edge(edge):
    """No region holds both, wherever the edge lies on the grid of the centres."""
    image = np.full((30, 40, 3), (40, 120, 60), np.uint8)
    image[:, edge:] = (200, 80, 60)
    labels = superpixels(image, **KNOBS)
    assert not set(labels[:, :edge].ravel()) & set(labels[:, edge:].ravel())
    assert len(np.unique(labels)) >= 4
    halves = merged_by_colour(labels, image, difference=5)
    np.testing.assert_array_equal(halves, np.broadcast_to(np.arange(40) >= edge, (30, 40)))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_photograph_gives_the_mirrored_regions(axis):
    """To the pixel, on a photograph without ties: sums are integers."""
    image = photograph(40, 53)
    straight = superpixels(image, **KNOBS)
    mirrored = np.flip(superpixels(np.flip(image, axis), **KNOBS), axis)
    for one, other in zip(borders(straight), borders(mirrored), strict=True):
        np.testing.assert_array_equal(one, other)
    assert borders(straight)[0].any()


def test_more_compactness_means_shorter_borders():
    """Of a photograph of noise."""
    image = photograph(60, 60)
    lengths = [
        sum(each.sum() for each in borders(superpixels(image, regions=16, compactness=compactness)))
        for compactness in (1.0, 200.0)
    ]
    assert lengths[1] < 0.7 * lengths[0]


def test_a_photograph_of_one_colour_falls_into_the_cells_of_the_grid():
    """By hand: six centres over 12 × 18 pixels are two rows of three, each with 6 × 6 pixels."""
    labels = superpixels(np.full((12, 18, 3), 99, np.uint8), regions=6, compactness=10.0)
    y, x = np.mgrid[0:12, 0:18]
    np.testing.assert_array_equal(labels, y // 6 * 3 + x // 6)


def test_a_speck_joins_the_neighbour_of_its_colour():
    """By hand: with one centre to a half, a dark pixel in the bright half is too small to stay, and has that half alone beside
    it; on the border it joins the dark half."""
    image = np.full((12, 24, 3), 30, np.uint8)
    image[:, 12:] = 220
    speck = image.copy()
    speck[5, 15] = 30
    halves = np.broadcast_to(np.arange(24) >= 12, (12, 24)).astype(np.int32)
    np.testing.assert_array_equal(superpixels(speck, regions=2, compactness=1.0), halves)
    speck = image.copy()
    speck[5, 12] = 30
    labels = superpixels(speck, regions=2, compactness=1.0)
    assert labels[5, 12] == 0
    assert (labels != halves).sum() == 1


def test_regions_of_like_colour_become_one_and_pass_it_on():
    """Greys 100, 104, 108 and 160 side by side: at a difference of 2 units of Lab the first three are one, at 0.5 none."""
    image = np.repeat(np.array([100, 104, 108, 160], np.uint8), 5)[None, :, None] * np.ones((6, 1, 3), np.uint8)
    labels = np.broadcast_to(np.arange(20) // 5, (6, 20)).astype(np.int32)
    np.testing.assert_array_equal(merged_by_colour(labels, image, difference=2)[0, ::5], [0, 0, 0, 1])
    np.testing.assert_array_equal(merged_by_colour(labels, image, difference=0.5)[0, ::5], [0, 1, 2, 3])


def test_the_mean_of_each_region():
    labels = np.array([[0, 0, 1], [0, 1, 1]], np.int32)
    planes = np.array([[[1, 2, 3], [6, 5, 10]], [[0, 0, 1], [0, 1, 1]]], np.float32)
    np.testing.assert_allclose(region_means(labels, planes), [[3, 6], [0, 1]])


@pytest.mark.parametrize("image", [np.zeros((3, 4), np.uint8), np.zeros((3, 4, 3), np.float32)])
def test_what_is_no_photograph_is_refused(image):
    with pytest.raises(ShapeError):
        superpixels(image, **KNOBS)
