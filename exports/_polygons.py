"""Masks as polygons, and how many pixels that costs.

A polygon goes through the centres of an object's edge pixels. A hole is reached over a bridge of no width, as formats
without holes demand. Drawing the polygons again says how far they are from the mask.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.schema import BACKGROUND, VOID, Mask

Polygon = NDArray[np.int32]
"""[N, 2] of (x, y) in pixels, N at least 3; corners may coincide."""


def polygons_of(mask: Mask) -> list[tuple[int, Polygon]]:
    """Class id and outline of every connected region of a class, [H, W] uint8 in; background and void have none."""
    found = []
    for label in (int(k) for k in np.unique(mask) if k not in (BACKGROUND, VOID)):
        contours, tree = cv2.findContours((mask == label).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for k, contour in enumerate(contours):
            if tree[0][k][3] < 0:
                holes = [contours[h][:, 0] for h in range(len(contours)) if tree[0][h][3] == k]
                found.append((label, _at_least_three(_with_holes(contour[:, 0], holes))))
    return found


def draw(polygons: list[tuple[int, Polygon]], shape: tuple[int, int]) -> Mask:
    """Draw polygons over a background, larger ones first. [H, W] uint8."""
    drawn = np.zeros(shape, dtype=np.uint8)
    for label, polygon in sorted(polygons, key=lambda pair: -cv2.contourArea(pair[1])):
        cv2.fillPoly(drawn, [polygon], label)
    return drawn


class PixelError:
    """How far drawn polygons are from their masks; void counts nowhere."""

    def __init__(self) -> None:
        self.wrong = self.known = self.worst = 0.0

    def add(self, mask: Mask, polygons: list[tuple[int, Polygon]]) -> None:
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


def _with_holes(outline: Polygon, holes: list[Polygon]) -> Polygon:
    """One closed line round a region and its holes."""
    joined = outline
    left = list(holes)
    while left:
        pairs = [_nearest(joined, hole) for hole in left]
        nearest = min(range(len(left)), key=lambda k: pairs[k][0])
        _, here, there = pairs[nearest]
        hole = left.pop(nearest)
        loop = np.concatenate([hole[there:], hole[: there + 1]])
        joined = np.concatenate([joined[: here + 1], loop, joined[here:]])
    return joined


def _nearest(line: Polygon, hole: Polygon) -> tuple[int, int, int]:
    """Squared distance and places of the two corners that are nearest to each other."""
    apart = line[:, None].astype(np.int64) - hole[None].astype(np.int64)
    squares = (apart**2).sum(axis=2)
    here, there = np.unravel_index(int(squares.argmin()), squares.shape)
    return int(squares[here, there]), int(here), int(there)


def _at_least_three(polygon: Polygon) -> Polygon:
    return (
        polygon if len(polygon) >= 3 else np.concatenate([polygon, np.repeat(polygon[-1:], 3 - len(polygon), axis=0)])
    )
