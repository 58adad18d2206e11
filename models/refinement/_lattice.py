"""The permutohedral lattice of a photograph's places and colours, on which `_lattice_filter.py` filters in five dimensions.

A pixel lies in a simplex of six vertices. Splatting adds its value to them by its barycentric weights, blurring mixes each
vertex with its neighbours along the six axes of the lattice, and reading takes the values back. Vertices that no pixel touches
do not exist: what is blurred into them is lost, as in the authors' code.

Source: Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644, and its code, whose vertices, weights and order of axes these are (but for
those of the black pixels with which it fills up the last four). Here a vertex is known by one integer, coordinates are found for a
block of pixels at once, and each neighbour is looked up once.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import float32, int32, int64, uint64
from numpy.typing import NDArray

from models.compiled import compiled, inlined

AXES = 6
BLOCK = 128
"""Pixels, or vertices, that a loop takes at once: its arrays fit into the first-level cache."""
EMPTY = -1
MOST_NUMBERS = 2**62

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Indices = NDArray[np.uint32]


class Lattice(NamedTuple):
    """The lattice of N pixels, M vertices.

    Attributes:
        vertices: [N, 6] uint32, of each pixel's simplex.
        weights: [N, 6] float32, barycentric, sum 1.
        before, after: [6, M] uint32, neighbours of each vertex along each axis; M where there is none.
    """

    vertices: Indices
    weights: Floats
    before: Indices
    after: Indices


def build_lattice(image: NDArray[np.uint8], sxy: float, srgb: float) -> Lattice:
    """Place the pixels of an image [H, W, 3] on a lattice; `sxy` pixels or `srgb` grey levels are one standard deviation.

    Raises:
        ValueError: the deviations are too small for the image: its vertices cannot be numbered.
    """
    height, width, _ = image.shape
    strides, origin = _numbering(np.array([width / sxy, height / sxy, *[255 / srgb] * 3]))
    bits = max(12, (height * width).bit_length())
    pixels = np.array(image, order="C")  # writable: another signature would be compiled for read-only arrays
    placed = _place(pixels, np.float32(sxy), np.float32(srgb), _scales().astype(np.float32), strides, origin, bits)
    vertices, weights, count, keys, names = placed
    before, after = _connect(count, keys, names, strides.sum() - AXES * strides)
    return Lattice(vertices, weights, before, after)


def _scales() -> NDArray[np.float64]:
    """[5]: what a feature is multiplied by, so that a blur has the deviation 1."""
    dimension = np.arange(1, AXES)
    scales: NDArray[np.float64] = math.sqrt(2 / 3) * AXES / np.sqrt(dimension * (dimension + 1))
    return scales


def _numbering(extent: NDArray[np.float64]) -> tuple[Integers, Any]:
    """Strides [6] int64 and the origin of the numbers of vertices, for features in 0..extent [5].

    A vertex with coordinates c has the number origin + Σ strides · c, not negative and its own, also one step outside of what
    pixels can touch. The sixth coordinate follows from the others: its stride is 0.
    """
    reach = extent * _scales()
    most = np.cumsum(reach[::-1])[::-1]
    least = np.array([0, *(-np.arange(1, AXES) * reach)[:-1]])
    low = np.floor(least) - 3 * AXES
    ranges = [int(span) for span in np.ceil(most) - low + 3 * AXES]
    if math.prod(ranges) >= MOST_NUMBERS:
        raise ValueError("bilateral_sxy and bilateral_srgb are too small for a photograph of this size")
    strides = np.array([*(math.prod(ranges[:axis]) for axis in range(AXES - 1)), 0], dtype=np.int64)
    return strides, np.int64(-(low.astype(np.int64) * strides[:-1]).sum())


@inlined
def _slot(number: Any, bits: Any) -> Any:
    """Where a hash table of 2 ** bits looks for a number first."""
    return (uint64(number) * uint64(0x9E3779B97F4A7C15)) >> uint64(64 - bits)


@compiled
def _place(
    image: NDArray[np.uint8], sxy: Any, srgb: Any, scales: Floats, strides: Integers, origin: Any, bits: int
) -> tuple[Any, ...]:
    """Vertices and weights of all pixels, the number M of vertices, and the hash table: by slot, a number and its vertex.

    Pixels are looked up corner by corner, first without a branch: most numbers lie where they are looked for.
    """
    height, width, _ = image.shape
    vertices = np.empty((height * width, AXES), np.uint32)
    weights = np.empty((height * width, AXES), np.float32)
    count = 0
    keys, names = np.full(2**bits, EMPTY, np.int64), np.zeros(2**bits, np.uint32)
    offsets, places = np.empty((AXES, BLOCK), np.float32), np.empty((AXES, BLOCK), np.float32)
    ranks, shares = np.empty((AXES + 1, BLOCK), np.int32), np.empty((AXES + 1, BLOCK), np.float32)
    corners = np.empty((AXES, BLOCK), np.int64)
    slots, unsettled = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.int64)
    for y in range(height):
        for x in range(0, width, BLOCK):
            size = min(BLOCK, width - x)
            _elevate(image[y, x : x + size], x, y, sxy, srgb, scales, offsets, shares)
            _round(size, offsets, places, ranks)
            _corners(size, offsets, places, ranks, strides, origin, corners, shares)
            while 3 * (count + AXES * BLOCK) > 2 * len(keys):
                bits += 1
                keys, names = _rehashed(keys, names, bits)
            mask = uint64(len(keys) - 1)
            first = y * width + x
            for corner in range(AXES):
                wanted, share = corners[corner], shares[corner]
                for k in range(size):
                    slots[k] = _slot(wanted[k], bits)
                misses = 0
                for k in range(size):
                    weights[first + k, corner] = share[k]
                    vertices[first + k, corner] = names[slots[k]]
                    unsettled[misses] = k
                    misses += keys[slots[k]] != wanted[k]
                for miss in range(misses):
                    k = unsettled[miss]
                    number, slot = wanted[k], slots[k]
                    while keys[slot] != number and keys[slot] != EMPTY:
                        slot = (slot + uint64(1)) & mask
                    if keys[slot] == EMPTY:
                        keys[slot], names[slot] = number, count
                        count += 1
                    vertices[first + k, corner] = names[slot]
    return vertices, weights, count, keys, names


@inlined
def _rehashed(keys: Integers, names: Indices, bits: int) -> tuple[Any, ...]:
    """The hash table with 2 ** bits slots."""
    new_keys, new_names = np.full(2**bits, EMPTY, np.int64), np.zeros(2**bits, np.uint32)
    mask = uint64(len(new_keys) - 1)
    for old in range(len(keys)):
        if keys[old] == EMPTY:
            continue
        slot = _slot(keys[old], bits)
        while new_keys[slot] != EMPTY:
            slot = (slot + uint64(1)) & mask
        new_keys[slot], new_names[slot] = keys[old], names[old]
    return new_keys, new_names


@inlined
def _elevate(
    colours: NDArray[np.uint8], x: int, y: int, sxy: Any, srgb: Any, scales: Floats, elevated: Floats, features: Floats
) -> None:
    """Features of the pixels from (x, y) on, in the plane of the lattice, where six coordinates add up to 0."""
    size = len(colours)
    total = features[AXES - 1]
    for k in range(size):
        features[0, k] = float32(x + k) / sxy
        features[1, k] = float32(y) / sxy
        features[2, k] = float32(colours[k, 0]) / srgb
        features[3, k] = float32(colours[k, 1]) / srgb
        features[4, k] = float32(colours[k, 2]) / srgb
        total[k] = float32(0)
    for axis in range(AXES - 1, 0, -1):
        scale, factor, feature, target = scales[axis - 1], float32(axis), features[axis - 1], elevated[axis]
        for k in range(size):
            scaled = feature[k] * scale
            target[k] = total[k] - factor * scaled
            total[k] += scaled
    for k in range(size):
        elevated[0, k] = total[k]


@inlined
def _round(size: int, offsets: Floats, places: Floats, ranks: NDArray[np.int32]) -> None:
    """The nearest vertex of remainder 0, `places`; what is left, `offsets`, by a sixth; and its order by size, `ranks`."""
    sixth = float32(1) / float32(AXES)
    excess = ranks[AXES]
    for k in range(size):
        excess[k] = 0
    for axis in range(AXES):
        offset, place, rank = offsets[axis], places[axis], ranks[axis]
        for k in range(size):
            nearest = np.rint(sixth * offset[k])
            place[k] = nearest * float32(AXES)
            offset[k] -= place[k]
            excess[k] += int32(nearest)
            rank[k] = 0
    for axis in range(AXES - 1):
        offset, rank = offsets[axis], ranks[axis]
        for other in range(axis + 1, AXES):
            other_offset, other_rank = offsets[other], ranks[other]
            for k in range(size):
                less = int32(offset[k] < other_offset[k])
                rank[k] += less
                other_rank[k] += int32(1) - less
    # rounding may leave the plane: the axes that it moved farthest go back
    for axis in range(AXES):
        offset, place, rank = offsets[axis], places[axis], ranks[axis]
        for k in range(size):
            moved = rank[k] + excess[k]
            back = int32(0)
            if moved < 0:
                back = int32(AXES)
            if moved >= AXES:
                back = int32(-AXES)
            rank[k] = moved + back
            place[k] += float32(back)
            offset[k] = (offset[k] - float32(back)) * sixth


@inlined
def _corners(
    size: int,
    offsets: Floats,
    places: Floats,
    ranks: NDArray[np.int32],
    strides: Integers,
    origin: Any,
    corners: Integers,
    shares: Floats,
) -> None:
    """Numbers of the six vertices and their barycentric weights. From corner to corner goes one step along an axis: that of the
    largest offset first."""
    step = int64(0)
    for axis in range(AXES):
        step += strides[axis]
    number = corners[0]
    for k in range(size):
        number[k] = origin
    for axis in range(AXES):
        stride, place = strides[axis], places[axis]
        for k in range(size):
            number[k] += int64(place[k]) * stride
    previous = shares[AXES]
    for corner in range(AXES):
        share, number, following = shares[corner], corners[corner], corners[min(corner + 1, AXES - 1)]
        for k in range(size):
            share[k] = float32(0)
        if corner < AXES - 1:
            for k in range(size):
                following[k] = number[k] + step
        for axis in range(AXES):
            offset, rank, back = offsets[axis], ranks[axis], int64(AXES) * strides[axis]
            for k in range(size):
                if rank[k] == AXES - 1 - corner:
                    share[k] += offset[k]
            if corner < AXES - 1:
                for k in range(size):
                    if rank[k] == AXES - 1 - corner:
                        following[k] -= back
    # the offsets in descending order: a weight is the difference of two that follow each other
    first, last = shares[0], shares[AXES - 1]
    for k in range(size):
        previous[k] = first[k]
        first[k] += float32(1) - last[k]
    for corner in range(1, AXES):
        share = shares[corner]
        for k in range(size):
            offset_here = share[k]
            share[k] = offset_here - previous[k]
            previous[k] = offset_here


@compiled
def _connect(count: int, keys: Integers, names: Indices, steps: Integers) -> tuple[Any, ...]:
    """Neighbours `before` and `after` [6, M] of each vertex; M where there is none."""
    before = np.full((AXES, count), count, np.uint32)
    after = np.full((AXES, count), count, np.uint32)
    mask = uint64(len(keys) - 1)
    bits = 0
    while 2**bits < len(keys):
        bits += 1
    for axis in range(AXES):
        left, right = before[axis], after[axis]
        for own in range(len(keys)):
            if keys[own] == EMPTY:
                continue
            vertex, number = names[own], keys[own] + steps[axis]
            slot = _slot(number, bits)
            while keys[slot] != number and keys[slot] != EMPTY:
                slot = (slot + uint64(1)) & mask
            if keys[slot] == number:
                neighbour = names[slot]
                right[vertex] = neighbour
                left[neighbour] = vertex
    return before, after
