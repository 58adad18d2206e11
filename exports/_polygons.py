"""Masks as polygons, and the share of pixels that differ.

A polygon goes through the centres of an object's edge pixels. A hole is joined by a bridge of no width, since the formats
have no holes. The pixel error is measured by drawing the polygons again.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.schema import BACKGROUND, VOID, Mask

Polygon = NDArray[np.int32]
"""[N, 2] of (x, y) in pixels, N at least 3; corners may coincide."""


def polygons_of(mask: Mask) -> list[tuple[int, Polygon]]:
    """Class id and outline of every connected region of a mask, [H, W] uint8; background and void are left out."""
    polygons = []
    for label in (int(k) for k in np.unique(mask) if k not in (BACKGROUND, VOID)):
        contours, tree = cv2.findContours((mask == label).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for k, contour in enumerate(contours):
            if tree[0][k][3] < 0:
                holes = [contours[h][:, 0] for h in range(len(contours)) if tree[0][h][3] == k]
                polygons.append((label, _at_least_three(_with_holes(contour[:, 0], holes))))
    return polygons


def draw(polygons: list[tuple[int, Polygon]], shape: tuple[int, int]) -> Mask:
    """Draw polygons over a background, larger ones first. [H, W] uint8."""
    drawn = np.zeros(shape, dtype=np.uint8)
    for label, polygon in sorted(polygons, key=lambda pair: -cv2.contourArea(pair[1])):
        cv2.fillPoly(drawn, [polygon], label)
    return drawn


class PixelError:
    """Share of pixels in which drawn polygons differ from their masks; void is ignored."""

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
    """One closed line around a region and its holes."""
    joined = outline
    left = list(holes)
    while left:
        pairs = [_nearest(joined, hole) for hole in left]
        nearest = min(range(len(left)), key=lambda k: pairs[k][0])
        _, on_line, on_hole = pairs[nearest]
        hole = left.pop(nearest)
        loop = np.concatenate([hole[on_hole:], hole[: on_hole + 1]])
        joined = np.concatenate([joined[: on_line + 1], loop, joined[on_line:]])
    return joined


def _nearest(line: Polygon, hole: Polygon) -> tuple[int, int, int]:
    """Squared distance and indices of the nearest two corners."""
    apart = line[:, None].astype(np.int64) - hole[None].astype(np.int64)
    squares = (apart**2).sum(axis=2)
    on_line, on_hole = np.unravel_index(int(squares.argmin()), squares.shape)
    return int(squares[on_line, on_hole]), int(on_line), int(on_hole)


def _at_least_three(polygon: Polygon) -> Polygon:
    return (
        polygon if len(polygon) >= 3 else np.concatenate([polygon, np.repeat(polygon[-1:], 3 - len(polygon), axis=0)])
    )
