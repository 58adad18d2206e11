"""A Gaussian filter over the places of pixels alone: separable, and nothing comes from outside of the image."""

import numpy as np
from numba import float32
from numpy.typing import NDArray

from models.compiled import compiled, inlined

DEVIATIONS = 3.2
"""Reach of the filter. A pixel beyond has less than 0.006 of the weight of the pixel itself."""

Floats = NDArray[np.float32]


def gaussian_weights(sxy: float, size: tuple[int, int]) -> Floats:
    """[1 + reach]: weights of a pixel and of those beside it, for a deviation of `sxy` pixels in an image of size (H, W)."""
    reach = max(1, min(int(np.ceil(DEVIATIONS * sxy)), max(size) - 1))
    return np.exp(-0.5 * (np.arange(reach + 1) / sxy) ** 2).astype(np.float32)


@compiled
def add_smoothed(total: Floats, field: Floats, scale: Floats, factor: float, weights: Floats) -> None:
    """Add `factor` · `scale` · filter(`scale` · `field`) to `total`; all are [H, W]."""
    height, width = field.shape
    reach = len(weights) - 1
    rows = np.zeros((height + 2 * reach, width), np.float32)
    for y in range(height):
        row, field_row, scale_row = rows[y + reach], field[y], scale[y]
        for x in range(width):
            row[x] = field_row[x] * scale_row[x]
    columns = np.zeros(width + 2 * reach, np.float32)
    smoothed = np.empty(width, np.float32)
    for y in range(height):
        middle = columns[reach : reach + width]
        _set(middle, rows[y + reach], weights[0])
        for distance in range(1, reach + 1):
            _add(middle, rows[y + reach - distance], rows[y + reach + distance], weights[distance])
        _set(smoothed, middle, weights[0])
        for distance in range(1, reach + 1):
            _add(smoothed, columns[reach - distance :], columns[reach + distance :], weights[distance])
        total_row, scale_row = total[y], scale[y]
        for x in range(width):
            total_row[x] += float32(factor) * scale_row[x] * smoothed[x]


@inlined
def _set(target: Floats, source: Floats, weight: float) -> None:
    for x in range(len(target)):
        target[x] = weight * source[x]


@inlined
def _add(target: Floats, one: Floats, other: Floats, weight: float) -> None:
    for x in range(len(target)):
        target[x] += weight * (one[x] + other[x])
