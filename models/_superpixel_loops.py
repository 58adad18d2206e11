"""Loops of `superpixels.py`, as machine code. Positions are doubled and counted from the middle of the photograph, and sums are
integers, so that a mirrored photograph gives the same bits.
"""

from typing import Any

import numpy as np
from numba import float32, int64
from numpy.typing import NDArray

from models.compiled import compiled, inlined

LIGHTNESS = 100 / 255
"""OpenCV stores the lightness of Lab, 0 to 100, as 0 to 255."""
L, A, B, Y, X, SIZE = range(6)

Labels = NDArray[np.int32]
Lab = NDArray[np.uint8]


@compiled
def clusters(lab: Lab, rows: int, columns: int, compactness: float, rounds: int) -> Labels:
    """The nearest of rows × columns centres for each pixel, [H, W], after `rounds` of k-means in colour and place."""
    height, width, _ = lab.shape
    centres = np.empty((rows * columns, 5), np.float64)
    reach_y, reach_x = (
        height / rows,
        width / columns,
    )  # of a centre's window, in doubled pixels: from one centre to the next
    for row in range(rows):
        for column in range(columns):
            y, x = (2 * row + 1 - rows) * height / rows, (2 * column + 1 - columns) * width / columns
            centres[row * columns + column, Y] = y
            centres[row * columns + column, X] = x
            _start(lab, centres[row * columns + column], reach_y, reach_x)
    weight = compactness**2 / (reach_y * reach_x) / 4
    labels = np.zeros((height, width), np.int32)
    nearest = np.empty((height, width), np.float32)
    sums = np.empty((rows * columns, 6), np.int64)
    for _ in range(rounds):
        nearest[:] = np.inf
        for number in range(len(centres)):
            _claim(lab, centres[number], number, 2 * reach_y, 2 * reach_x, weight, labels, nearest)
        sums[:] = 0
        for y in range(height):
            for x in range(width):
                _add(sums[labels[y, x]], lab, y, x)
        for number in range(len(centres)):
            if sums[number, SIZE] > 0:
                for k in range(5):
                    centres[number, k] = sums[number, k] / sums[number, SIZE]
    return labels


@inlined
def _span(centre: float, reach: float, side: int) -> Any:
    """Pixels that may lie within `reach` of a centre; which of them do is asked of each."""
    first = int64(np.floor((centre - reach + side - 1) / 2))
    last = int64(np.ceil((centre + reach + side - 1) / 2))
    return max(first, int64(0)), min(last + 1, int64(side))


@inlined
def _start(lab: Lab, centre: Any, reach_y: float, reach_x: float) -> None:
    """Fill in a centre's colour: the mean of its cell of the grid, border included."""
    height, width, _ = lab.shape
    sums = np.zeros(6, np.int64)
    top, bottom = _span(centre[Y], reach_y, height)
    left, right = _span(centre[X], reach_x, width)
    for y in range(top, bottom):
        for x in range(left, right):
            if abs(2 * y - height + 1 - centre[Y]) <= reach_y and abs(2 * x - width + 1 - centre[X]) <= reach_x:
                _add(sums, lab, y, x)
    for k in range(3):
        centre[k] = sums[k] / max(sums[SIZE], 1)


@inlined
def _add(sums: Any, lab: Lab, y: int, x: int) -> None:
    height, width, _ = lab.shape
    sums[L] += int64(lab[y, x, 0])
    sums[A] += int64(lab[y, x, 1])
    sums[B] += int64(lab[y, x, 2])
    sums[Y] += 2 * y - height + 1
    sums[X] += 2 * x - width + 1
    sums[SIZE] += 1


@inlined
def _claim(
    lab: Lab, centre: Any, number: int, reach_y: float, reach_x: float, weight: float, labels: Labels, nearest: Any
) -> None:
    """Give a centre the pixels of its window that are nearer to it than to those before."""
    height, width, _ = lab.shape
    top, bottom = _span(centre[Y], reach_y, height)
    left, right = _span(centre[X], reach_x, width)
    own_l, own_a, own_b = float32(centre[L]), float32(centre[A]), float32(centre[B])
    own_x, square, place = float32(centre[X]), float32(LIGHTNESS**2), float32(weight)
    for y in range(top, bottom):
        down = 2 * y - height + 1 - centre[Y]
        if abs(down) > reach_y:
            continue
        away = float32(down * down) * place
        for x in range(left, right):
            along = float32(2 * x - width + 1) - own_x
            if abs(along) > reach_x:
                continue
            light = float32(lab[y, x, 0]) - own_l
            red, yellow = float32(lab[y, x, 1]) - own_a, float32(lab[y, x, 2]) - own_b
            distance = light * light * square + (red * red + yellow * yellow) + (along * along * place + away)
            if distance < nearest[y, x]:
                nearest[y, x] = distance
                labels[y, x] = number


@compiled
def connected(labels: Labels, lab: Lab, least: int) -> Labels:
    """Connected parts of the labels, numbered 0, 1, … row by row; one of fewer than `least` pixels joins the neighbour of the
    nearest mean colour."""
    height, width = labels.shape
    parts = _parts(labels)
    while True:
        count = parts.max() + 1
        sums = np.zeros((count, 6), np.int64)
        for y in range(height):
            for x in range(width):
                _add(sums[parts[y, x]], lab, y, x)
        best, costs = np.full(count, -1, np.int32), np.full(count, np.inf, np.float64)
        for y in range(height):
            for x in range(width):
                if x + 1 < width and parts[y, x] != parts[y, x + 1]:
                    _weigh(parts[y, x], parts[y, x + 1], sums, least, best, costs)
                if y + 1 < height and parts[y, x] != parts[y + 1, x]:
                    _weigh(parts[y, x], parts[y + 1, x], sums, least, best, costs)
        if best.max() < 0:
            return parts
        parents = np.arange(count).astype(np.int32)
        for part in range(count):
            if best[part] >= 0:
                _join(parents, part, best[part])
        for y in range(height):
            for x in range(width):
                parts[y, x] = _root(parents, parts[y, x])
        parts = _parts(parts)


@inlined
def _parts(labels: Labels) -> Labels:
    """Number the 4-connected parts of equal labels, row by row."""
    height, width = labels.shape
    parents = np.arange(height * width).astype(np.int32)
    for y in range(height):
        for x in range(width):
            if x > 0 and labels[y, x] == labels[y, x - 1]:
                _join(parents, y * width + x, y * width + x - 1)
            if y > 0 and labels[y, x] == labels[y - 1, x]:
                _join(parents, y * width + x, (y - 1) * width + x)
    parts = np.empty((height, width), np.int32)
    names = np.full(height * width, -1, np.int32)
    count = 0
    for y in range(height):
        for x in range(width):
            root = _root(parents, y * width + x)
            if names[root] < 0:
                names[root] = count
                count += 1
            parts[y, x] = names[root]
    return parts


@inlined
def _root(parents: Labels, number: int) -> Any:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@inlined
def _join(parents: Labels, first: int, second: int) -> None:
    one, other = _root(parents, first), _root(parents, second)
    parents[max(one, other)] = min(one, other)


@inlined
def _weigh(first: int, second: int, sums: Any, least: int, best: Any, costs: Any) -> None:
    """Note for each of two neighbours that is too small whether the other has the nearest colour so far; of two, the larger."""
    light = sums[first, L] / sums[first, SIZE] - sums[second, L] / sums[second, SIZE]
    red = sums[first, A] / sums[first, SIZE] - sums[second, A] / sums[second, SIZE]
    yellow = sums[first, B] / sums[first, SIZE] - sums[second, B] / sums[second, SIZE]
    cost = (light * LIGHTNESS) ** 2 + (red * red + yellow * yellow)
    for small, other in ((first, second), (second, first)):
        if sums[small, SIZE] >= least or cost > costs[small]:
            continue
        if cost < costs[small] or sums[other, SIZE] > sums[best[small], SIZE]:
            costs[small], best[small] = cost, other
