"""Regions that a person drew in an annotation tool, painted into a mask of class ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import DataError
from labelfactory.schema import Mask

Region = NDArray[np.bool_]
LONGEST_SIDE = 1_000_000
"""Pixels of a polygon's corner from the origin."""


@dataclass(frozen=True)
class Drawn:
    """One region of a class."""

    class_id: int
    region: Region  # [H, W]
    layer: int = 0  # those of a higher one lie above


def painted(drawn: Sequence[Drawn], height: int, width: int) -> Mask:
    """Paint regions: higher layers above lower ones, and smaller regions above larger ones. [height, width] uint8."""
    mask = np.zeros((height, width), dtype=np.uint8)
    for one in sorted(drawn, key=lambda one: (one.layer, -np.count_nonzero(one.region))):
        mask[one.region] = one.class_id
    return mask


def polygon(corners: NDArray[np.float64], height: int, width: int) -> Region:
    """The region of a polygon, its outline included, [height, width].

    Args:
        corners: [N, 2] of (x, y); the centre of the first pixel is (0, 0).
        height: pixels.
        width: pixels.

    Raises:
        DataError: it is no polygon.
    """
    if corners.ndim != 2 or corners.shape[1] != 2 or not len(corners) or not np.isfinite(corners).all():
        raise DataError("a polygon is not a list of corners")
    if np.abs(corners).max() > LONGEST_SIDE:
        raise DataError(f"a polygon has a corner {LONGEST_SIDE} pixels away")
    region = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(region, [np.rint(corners).astype(np.int32)], 1)
    return region > 0


def resized(region: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A mask at another size, each pixel the nearest of those that were there."""
    if region.shape == (height, width):
        return region
    rows = ((np.arange(height) + 0.5) * region.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * region.shape[1] / width).astype(np.intp)
    nearest: NDArray[np.uint8] = region[rows][:, columns]
    return nearest


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two sizes are of one picture at two scales: their sides have one ratio, to a pixel."""
    scale = other[0] / one[0]
    return abs(other[1] - one[1] * scale) <= max(1.0, scale)
