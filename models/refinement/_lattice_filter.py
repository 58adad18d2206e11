"""A Gaussian filter on the lattice of a photograph: splat, blur, read. Its paper and code: `_lattice.py`."""

import numpy as np
from numba import float32

from models.compiled import compiled
from models.refinement._lattice import Floats, Indices, Lattice

CORNERS = 6
"""Vertices of a simplex."""


def blurred(field: Floats, scale: Floats, lattice: Lattice) -> Floats:
    """Values [M + 1] of the vertices after splatting `field` · `scale` [N] and blurring; the last one is 0."""
    values = np.zeros(lattice.after.shape[1] + 1, dtype=np.float32)
    _splat(values, field, scale, lattice.vertices, lattice.weights)
    return _blur(values, np.zeros_like(values), lattice.before, lattice.after)


@compiled
def add_read(total: Floats, values: Floats, scale: Floats, factor: float, vertices: Indices, weights: Floats) -> None:
    """Add `factor` · `scale` · (value at the pixel) to `total` [N]."""
    for pixel in range(len(total)):
        value = float32(0)
        for corner in range(CORNERS):
            value += weights[pixel, corner] * values[vertices[pixel, corner]]
        total[pixel] += factor * scale[pixel] * value


@compiled
def _splat(values: Floats, field: Floats, scale: Floats, vertices: Indices, weights: Floats) -> None:
    for pixel in range(len(field)):
        value = field[pixel] * scale[pixel]
        for corner in range(CORNERS):
            values[vertices[pixel, corner]] += weights[pixel, corner] * value


@compiled
def _blur(values: Floats, other: Floats, before: Indices, after: Indices) -> Floats:
    """Both arrays end in a zero, which the neighbours that are not there have."""
    half = float32(0.5)
    for axis in range(len(before)):
        left, right = before[axis], after[axis]
        for vertex in range(len(left)):
            other[vertex] = values[vertex] + half * (values[left[vertex]] + values[right[vertex]])
        values, other = other, values
    return values
