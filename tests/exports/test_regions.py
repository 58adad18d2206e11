"""Objects of a mask and their polygons: drawn again they are the same pixels, and specks are counted."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import masks as any_masks

from exports._polygons import draw, polygon_of
from exports._regions import Objects


def polygons(mask: np.ndarray, least: int = 1) -> list[tuple[int, np.ndarray]]:
    return [(region.label, polygon_of(region)) for region in Objects(least).of(mask)]


def as_ultralytics(polygon: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Fractions with six digits, multiplied by the size and cut to whole numbers, as `polygon2mask` does."""
    size = np.array(shape[::-1])
    fractions = np.round((polygon + 0.5) / size, 6)
    drawn = np.zeros(shape, np.uint8)
    cv2.fillPoly(drawn, (fractions * size).astype(np.int32)[None], 1)
    return drawn > 0


@settings(max_examples=150, deadline=None)
@given(mask=any_masks(4, max_side=14))
def test_polygons_of_any_mask_are_its_pixels(mask):
    """Whatever its holes touch; each has three corners and an area, and its region is drawn alone."""
    assert np.array_equal(draw(polygons(mask), mask.shape), np.where(mask == 255, 0, mask))
    for region in Objects(1).of(mask):
        polygon = polygon_of(region)
        assert len(polygon) >= 3
        assert cv2.contourArea(polygon.astype(np.float32)) > 0
        assert np.array_equal(as_ultralytics(polygon, mask.shape), region.within(mask.shape))


def drawing(*rows: str) -> np.ndarray:
    return np.array([[int(c) if c.isdigit() else 0 for c in row] for row in rows], np.uint8)


SHAPES = {
    "a frame": drawing("11111", "1...1", "1...1", "11111"),
    "holes that touch at a corner": drawing("111111", "1..111", "1..111", "111..1", "111..1", "111111"),
    "an island in a hole": drawing("1111111", "1.....1", "1.111.1", "1.1.1.1", "1.111.1", "1.....1", "1111111"),
    "another class in a hole": drawing("11111", "1...1", "1.2.1", "1...1", "11111"),
    "a hole at the edge of its region": drawing("1111", "1.11", "11.1", "1111"),
    "a diamond": drawing(".1.", "1.1", ".1."),
    "a line": drawing("1111111"),
    "a pixel": drawing("1"),
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_shape_keeps_its_holes(name):
    """By hand, with a margin."""
    mask = np.pad(SHAPES[name], 2)
    assert np.array_equal(draw(polygons(mask), mask.shape), mask)


def test_specks_are_left_out_and_counted():
    """19 pixels are one, 20 are an object; a photograph of specks alone has no object."""
    mask = np.zeros((10, 40), np.uint8)
    mask[0, :19], mask[2, :20], mask[4, 0], mask[6:, :] = 1, 1, 2, 255
    objects = Objects(20)
    assert [(r.label, r.left, r.top, r.pixels.shape) for r in objects.of(mask)] == [(1, 0, 2, (1, 20))]
    objects.of(np.eye(3, dtype=np.uint8))
    objects.of(np.zeros((3, 3), np.uint8))
    assert objects.facts() == {
        "objects": 1,
        "min_area": 20,
        "specks_left_out": 3,
        "speck_pixels_left_out": 23,
        "photographs_with_specks_alone": 1,
    }
