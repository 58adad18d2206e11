"""The five heads of the demo data set, and the brush that draws them."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]
Points = NDArray[np.float64]

FINE = 3  # everything is drawn this many times larger and averaged down: smooth edges
BLACK, WHITE, CREAM = (28, 24, 26), (246, 244, 238), (250, 236, 205)


@dataclass
class Canvas:
    """A picture being drawn, enlarged `FINE` times, with the object of each pixel."""

    pixels: NDArray[np.uint8]  # [H * FINE, W * FINE, 3] RGB
    objects: NDArray[np.uint8]  # [H * FINE, W * FINE], 0 ground, n the n-th object
    touched: int = 0  # number of the object being drawn; 0 leaves `objects` alone

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill a polygon, [N, 2] of (x, y) in final pixels."""
        corners = np.round(points * FINE).astype(np.int32)
        cv2.fillPoly(self.pixels, [corners], colour)
        if self.touched:
            cv2.fillPoly(self.objects, [corners], self.touched)


@dataclass(frozen=True)
class Brush:
    """Draws in an animal's own coordinates: the head is about the unit disc, y points down."""

    canvas: Canvas
    centre: tuple[float, float]
    size: float
    angle: float

    def polygon(self, points: list[tuple[float, float]] | Points, colour: Colour) -> None:
        """Fill a polygon given in units of the head's radius."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turned = np.asarray(points, dtype=float) @ np.array([[cos, sin], [-sin, cos]])
        self.canvas.polygon(turned * self.size + np.asarray(self.centre), colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour, *, wide: float = 1.0) -> None:
        """Fill a disc, or an ellipse `wide` times wider than high."""
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        self.polygon(np.stack([x + wide * radius * np.cos(turn), y + radius * np.sin(turn)], axis=1), colour)

    def band(self, top: float, bottom: float, radius: float, colour: Colour) -> None:
        """Fill the part of a disc between two heights."""
        turn = np.arcsin(np.linspace(top, bottom, 12) / radius)
        right = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
        self.polygon(np.concatenate([right, right[::-1] * [-1, 1]]), colour)

    def eyes(self, y: float, apart: float, radius: float, white: Colour = WHITE) -> None:
        """Two eyes with pupils."""
        for x in (-apart, apart):
            self.disc(x, y, radius, white)
            self.disc(x * 0.94, y, radius * 0.55, BLACK)


def bee(brush: Brush) -> None:
    """Yellow with black stripes, and feelers."""
    for side in (-1, 1):
        brush.polygon([(side * 0.30, -0.7), (side * 0.62, -1.32), (side * 0.74, -1.24), (side * 0.46, -0.7)], BLACK)
        brush.disc(side * 0.70, -1.28, 0.16, BLACK)
    brush.disc(0, 0, 1.0, (250, 204, 38))
    brush.band(-0.12, 0.22, 1.0, BLACK)
    brush.band(0.52, 0.80, 1.0, BLACK)
    brush.eyes(-0.45, 0.38, 0.20)


def fox(brush: Brush) -> None:
    """Orange, pointed ears, white cheeks, black nose."""
    orange = (232, 112, 32)
    for side in (-1, 1):
        brush.polygon([(side * 0.98, -1.30), (side * 0.10, -0.70), (side * 1.0, -0.05)], orange)
        brush.polygon([(side * 0.86, -1.02), (side * 0.42, -0.68), (side * 0.86, -0.38)], BLACK)
    brush.polygon(
        [(-0.8, -0.72), (0.8, -0.72), (1.08, 0.0), (0.62, 0.55), (0, 1.12), (-0.62, 0.55), (-1.08, 0.0)], orange
    )
    for side in (-1, 1):
        brush.polygon([(side * 1.08, 0.0), (side * 0.10, 0.30), (0, 1.12), (side * 0.62, 0.55)], WHITE)
        brush.disc(side * 0.42, -0.14, 0.15, BLACK)
    brush.disc(0, 0.92, 0.22, BLACK)


def frog(brush: Brush) -> None:
    """Green and wide, eyes that bulge, a long mouth."""
    green = (72, 182, 48)
    for side in (-1, 1):
        brush.disc(side * 0.62, -0.66, 0.46, green)
    brush.disc(0, 0.05, 0.88, green, wide=1.28)
    brush.eyes(-0.70, 0.62, 0.30)
    brush.disc(0, 0.36, 0.13, (24, 76, 24), wide=5.2)
    brush.disc(0, 0.30, 0.12, green, wide=5.2)


def ladybird(brush: Brush) -> None:
    """Red with black dots under a black cap."""
    brush.disc(0, 0, 1.02, (214, 28, 34))
    brush.band(-1.01, -0.50, 1.02, BLACK)
    brush.polygon([(-0.07, -0.5), (0.07, -0.5), (0.07, 1.0), (-0.07, 1.0)], BLACK)
    for x, y in ((-0.50, -0.08), (0.50, -0.08), (-0.42, 0.50), (0.42, 0.50)):
        brush.disc(x, y, 0.20, BLACK)
    for side in (-1, 1):
        brush.disc(side * 0.36, -0.72, 0.14, WHITE)


def owl(brush: Brush) -> None:
    """Brown with tufts, huge cream eyes, an orange beak."""
    brown = (112, 66, 36)
    for side in (-1, 1):
        brush.polygon([(side * 0.95, -1.18), (side * 0.15, -0.80), (side * 0.96, -0.25)], brown)
    brush.disc(0, 0.05, 1.0, brown)
    for side in (-1, 1):
        brush.disc(side * 0.44, -0.12, 0.47, CREAM)
        brush.disc(side * 0.40, -0.12, 0.22, BLACK)
    brush.polygon([(-0.18, 0.22), (0.18, 0.22), (0, 0.66)], (240, 150, 30))


HEADS: dict[str, Callable[[Brush], None]] = {"bee": bee, "fox": fox, "frog": frog, "ladybird": ladybird, "owl": owl}
HEAD_COLOURS: tuple[Colour, ...] = ((250, 204, 38), (232, 112, 32), (72, 182, 48), (214, 28, 34), (112, 66, 36))
