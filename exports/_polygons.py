"""Regions as polygons, and the share of pixels that differ when they are drawn again.

A polygon goes through the centres of a region's edge pixels. A hole is joined by a bridge of no width, since the formats
have no holes: a row of the region's own pixels, from the hole's leftmost edge pixel to the next edge on its left. So a reader
that rounds corners to pixels and fills even-odd, as `cv2.fillPoly` does, finds the region again, whatever its holes touch.
A region that is one pixel thick everywhere would have no area: its polygon goes around the pixels, a third from their centres.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from exports._regions import Region
from labelfactory.schema import VOID, Mask

Polygon = NDArray[np.float64]
"""[N, 2] of (x, y) in pixels, whole numbers at their centres; N at least 3, the area more than 0."""
Point = tuple[int, int]


def polygon_of(region: Region) -> Polygon:
    """The outline of a region and its holes, as one closed line."""
    points = _outline(region.pixels.astype(np.uint8)).astype(np.float64)
    if cv2.contourArea(points.astype(np.float32)) == 0:
        points = (_outline(np.kron(region.pixels, np.ones((3, 3))).astype(np.uint8)) - 1) / 3
    moved: Polygon = points + np.array([region.left, region.top])
    return moved


def draw(polygons: Sequence[tuple[int, Polygon]], shape: tuple[int, int]) -> Mask:
    """Draw polygons of class ids over a background. [H, W] uint8."""
    drawn = np.zeros(shape, dtype=np.uint8)
    for label, polygon in polygons:
        cv2.fillPoly(drawn, [np.floor(polygon + 0.5).astype(np.int32)], label)
    return drawn


class PixelError:
    """Share of pixels in which drawn polygons differ from their masks; void is ignored."""

    def __init__(self) -> None:
        self.wrong = self.known = self.worst = 0.0

    def add(self, mask: Mask, polygons: Sequence[tuple[int, Polygon]]) -> None:
        """Compare one mask, [H, W] uint8, with its polygons."""
        known = mask != VOID
        height, width = mask.shape
        wrong = int(((draw(polygons, (height, width)) != mask) & known).sum())
        self.wrong += wrong
        self.known += int(known.sum())
        self.worst = max(self.worst, wrong / max(1, int(known.sum())))

    def facts(self) -> dict[str, float]:
        """For provenance.json: shares of pixels that differ when the polygons are drawn again."""
        share = self.wrong / self.known if self.known else 0.0
        return {"pixel_error": round(share, 8), "pixel_error_of_worst_image": round(self.worst, 8)}


def _outline(pixels: Mask) -> NDArray[np.int64]:
    """One closed line around a region, [h, w] of 0 and 1, and its holes. [N, 2] of (x, y)."""
    contours, tree = cv2.findContours(np.pad(pixels, 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-1, -1))
    loops = [[(int(x), int(y)) for x, y in contour[:, 0]] for contour in contours]
    outer = next(k for k in range(len(loops)) if tree[0][k][3] < 0)
    holes = sorted((k for k in range(len(loops)) if k != outer), key=lambda k: min(loops[k]))
    joined: dict[Point, tuple[int, int]] = {point: (outer, i) for i, point in reversed(list(enumerate(loops[outer])))}
    bridges: dict[int, tuple[int, int]] = {}
    for k in holes:  # from the left: what lies on the left of a hole is joined before it
        start = loops[k].index(min(loops[k]))
        loops[k] = loops[k][start:] + loops[k][:start]
        x, y = loops[k][0]
        while x > 0 and pixels[y, x - 1]:
            x -= 1
        bridges[k] = joined[x, y]
        for i, point in enumerate(loops[k]):
            joined.setdefault(point, (k, i))
    beside: dict[tuple[int, int], list[list[Point]]] = {}
    for k in reversed(holes):
        beside.setdefault(bridges[k], []).append([*_with(loops[k], k, beside), loops[k][0]])
    return _corners(_with(loops[outer], outer, beside))


def _with(loop: list[Point], number: int, beside: dict[tuple[int, int], list[list[Point]]]) -> list[Point]:
    """A loop with those that are joined to its points."""
    points: list[Point] = []
    for i, point in enumerate(loop):
        points.append(point)
        for other in beside.pop((number, i), ()):
            points += [*other, point]
    return points


def _corners(line: list[Point]) -> NDArray[np.int64]:
    """A closed line without the points at which it goes straight on; at least three points."""
    points = np.array(line, dtype=np.int64)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)] if len(points) > 1 else points
    before = np.sign(points - np.roll(points, 1, axis=0))
    after = np.sign(np.roll(points, -1, axis=0) - points)
    turning = (before != after).any(axis=1)
    points = points[turning] if turning.any() else points[:1]
    return np.concatenate([points, np.repeat(points[-1:], max(0, 3 - len(points)), axis=0)])
