"""Draw one picture of the demo data set: textured ground, clutter, and animals with a small head on a large plain body.

Only the head shows the class. The body's colour has one distribution for all classes, far from the colours of the ground and
of every head, so the body has a clear edge and does not depend on the class.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.schema import Mask
from sources._demo_animals import BLACK, FINE, HEAD_COLOURS, HEADS, Brush, Canvas, Colour, Points

SMALLEST, LARGEST = 160, 224  # pixels, sides of a picture
GROUNDS: tuple[Colour, ...] = (
    (104, 122, 74),
    (150, 128, 96),
    (118, 112, 108),
    (122, 94, 72),
    (84, 104, 92),
    (168, 152, 122),
)


def noise(rng: np.random.Generator, height: int, width: int, cell: float) -> NDArray[np.float32]:
    """Smooth noise, [height, width] float32, mean 0, deviation 1; `cell` pixels is the size of its blobs."""
    coarse = rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32)
    grown = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[:height, :width]
    return np.asarray((grown - grown.mean()) / (grown.std() + 1e-6), dtype=np.float32)


def ground(rng: np.random.Generator, height: int, width: int, base: Colour) -> NDArray[np.float32]:
    """Textured ground, [height, width, 3] float32 in 0..255: blotches and grain, sometimes planks, tiles or furrows."""
    light = 7 * noise(rng, height, width, rng.uniform(28, 48)) + 6 * noise(rng, height, width, rng.uniform(5, 9))
    light += 6 * noise(rng, height, width, 1.6)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(14, 30)
    along = (x * np.cos(angle) + y * np.sin(angle)) / period
    across = (y * np.cos(angle) - x * np.sin(angle)) / period
    kind = int(rng.integers(4))
    if kind == 1:  # planks: each its own shade, dark joints
        shades = rng.normal(0, 9, 64)
        light += shades[(np.floor(along).astype(int)) % 64] - 22 * (np.abs(along - np.round(along)) < 0.06)
    elif kind == 2:  # tiles
        light += 9 * np.sign(np.sin(np.pi * along) * np.sin(np.pi * across))
    elif kind == 3:  # furrows
        light += 10 * np.sin(2 * np.pi * along + 0.8 * noise(rng, height, width, 24))
    tint = np.stack([3 * noise(rng, height, width, 20) for _ in range(3)], axis=2)
    return np.clip(np.asarray(base, np.float32) + light[..., None] + tint, 0, 255).astype(np.float32)


def clutter(rng: np.random.Generator, canvas: Canvas, height: int, width: int) -> None:
    """Stones, leaves, twigs and petals, independent of the animals."""
    for _ in range(int(rng.integers(6, 15))):
        brush = Brush(
            canvas, (rng.uniform(0, width), rng.uniform(0, height)), rng.uniform(2.5, 6.5), rng.uniform(0, 2 * np.pi)
        )
        shade = int(rng.integers(-16, 17))
        kind = int(rng.integers(4))
        if kind == 0:
            brush.disc(0.12, 0.16, 1.0, _lighter((62, 60, 58), shade), wide=1.25)
            brush.disc(0, 0, 1.0, _lighter((148, 146, 140), shade), wide=1.2)
        elif kind == 1:
            curve = np.linspace(-1, 1, 12)
            edge = np.stack([1.7 * curve, 0.55 * (1 - curve**2)], axis=1)
            brush.polygon(np.concatenate([edge, edge[::-1] * [1, -1]]), _lighter((92, 116, 52), shade))
        elif kind == 2:
            brush.polygon([(-2.2, -0.16), (2.2, -0.10), (2.2, 0.16), (-2.2, 0.12)], _lighter((82, 58, 40), shade))
        else:
            for turn in np.arange(5) * 2 * np.pi / 5:
                brush.disc(0.62 * np.cos(turn), 0.62 * np.sin(turn), 0.40, _lighter((206, 168, 186), shade))
            brush.disc(0, 0, 0.30, _lighter((170, 140, 70), shade))


def _lighter(colour: Colour, by: int) -> Colour:
    red, green, blue = (min(max(c + by, 0), 255) for c in colour)
    return red, green, blue


def _lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIE Lab of [N, 3] RGB colours, in which Euclidean distance is close to perceived distance."""
    return np.asarray(cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0])


def body_colour(rng: np.random.Generator, base: Colour) -> Colour:
    """A colour far from the ground's and from every head's; the same distribution for every class."""
    hsv = np.stack([rng.uniform(0, 360, 64), rng.uniform(0.06, 0.5, 64), rng.uniform(0.66, 0.97, 64)], axis=1)
    rgb = cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0] * 255
    wanted = _lab(rgb.round().astype(np.uint8))
    avoided = _lab(np.array([base, *HEAD_COLOURS, BLACK], dtype=np.uint8))
    far = np.linalg.norm(wanted[:, None] - avoided[None], axis=2)
    enough = (far[:, 0] > 38) & (far[:, 1:].min(axis=1) > 40)
    chosen = rgb[int(np.argmax(enough)) if enough.any() else int(np.argmax(far.min(axis=1)))]
    red, green, blue = (int(c) for c in chosen.round())
    return red, green, blue


@dataclass(frozen=True)
class Animal:
    """One object to draw: its position and shape."""

    name: str
    outline: Points  # [N, 2] body outline in final pixels
    head: tuple[float, float]
    head_size: float
    head_angle: float
    reach: float  # radius around the centre without other animals
    centre: tuple[float, float]


def place_animal(
    rng: np.random.Generator, name: str, height: int, width: int, *, others: list[Animal], largest: float
) -> Animal | None:
    """Find room for an animal whose body's radius is at most `largest` pixels; None if the picture is full."""
    for trial in range(60):
        radius = rng.uniform(0.65, 1.0 - 0.3 * trial / 60) * largest
        long = rng.uniform(1.0, 1.35)
        reach = radius * long * 1.28
        if 2 * reach + 4 > min(height, width):
            continue
        centre = np.array([rng.uniform(reach + 2, width - reach - 2), rng.uniform(reach + 2, height - reach - 2)])
        if any(np.hypot(*(centre - np.asarray(o.centre))) < 0.92 * (reach + o.reach) for o in others):
            continue
        turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        bumps = (
            1 + rng.uniform(0, 0.07) * np.cos(3 * turn + rng.uniform(0, 7)) + rng.uniform(0, 0.05) * np.cos(2 * turn)
        )
        shape = np.stack([long * np.cos(turn), np.sin(turn) / long**0.5], axis=1) * (radius * bumps)[:, None]
        tilt = rng.uniform(0, np.pi)
        rotate = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
        rim = shape[int(rng.integers(len(turn)))]
        head_size = rng.uniform(11.0, 13.5) + 0.07 * radius
        at = centre + (rim * (1 - 0.9 * head_size / np.hypot(*rim))) @ rotate
        outline = shape @ rotate + centre
        angle = rng.uniform(-0.45, 0.45)
        return Animal(
            name, outline, (float(at[0]), float(at[1])), head_size, angle, reach, (float(centre[0]), float(centre[1]))
        )
    return None


def draw_animal(rng: np.random.Generator, canvas: Canvas, animal: Animal, base: Colour, number: int) -> None:
    """Shadow, body with soft light, head."""
    middle = np.asarray(animal.centre)
    left, top = (max(0, int((c - animal.reach - 12) * FINE)) for c in animal.centre)
    right, bottom = (int((c + animal.reach + 12) * FINE) for c in animal.centre)
    here = (slice(top, bottom), slice(left, right))  # the rest of the picture stays as it is
    shadow = np.zeros(canvas.objects[here].shape, np.float32)
    cv2.fillPoly(
        shadow, [np.round((animal.outline + np.array([2.0, 3.5])) * FINE).astype(np.int32) - [left, top]], 0.30
    )
    soft = cv2.GaussianBlur(shadow, (0, 0), 2.0 * FINE)[..., None]
    canvas.pixels[here] = (canvas.pixels[here] * (1 - soft)).astype(np.uint8)

    colour = body_colour(rng, base)
    canvas.touched = number
    canvas.polygon(animal.outline, _lighter(colour, -26))
    canvas.polygon(middle + (animal.outline - middle) * (1 - 1.4 / animal.reach), colour)
    y, x = np.nonzero(canvas.objects[here] == number)
    y, x = y + top, x + left
    slope = ((x / FINE - middle[0]) + 1.4 * (y / FINE - middle[1])) / animal.reach
    light = np.clip(1.05 - 0.11 * slope, 0.9, 1.14)[:, None]
    canvas.pixels[y, x] = np.clip(canvas.pixels[y, x] * light, 0, 255).astype(np.uint8)
    HEADS[animal.name](Brush(canvas, animal.head, animal.head_size, animal.head_angle))
    canvas.touched = 0


def draw_scene(rng: np.random.Generator, names: list[str], class_ids: dict[str, int]) -> tuple[NDArray[np.uint8], Mask]:
    """Draw one picture.

    Args:
        rng: decides everything but the classes.
        names: classes of 0 to 3 animals; the first always finds room, the others nearly always.
        class_ids: class name → id in the mask.

    Returns:
        The picture, [H, W, 3] uint8 RGB, and its true mask, [H, W] uint8 of class ids; sides 160..224.
    """
    height, width = (int(side) for side in rng.integers(SMALLEST, LARGEST + 1, 2))
    base = _lighter(GROUNDS[int(rng.integers(len(GROUNDS)))], int(rng.integers(-14, 15)))
    soil = ground(rng, height, width, base)
    fine = cv2.resize(soil, (width * FINE, height * FINE), interpolation=cv2.INTER_CUBIC)
    canvas = Canvas(np.clip(fine, 0, 255).astype(np.uint8), np.zeros(fine.shape[:2], np.uint8))
    clutter(rng, canvas, height, width)
    animals: list[Animal] = []
    for name in names:
        animal = place_animal(rng, name, height, width, others=animals, largest=(50, 40, 34)[len(names) - 1])
        if animal is not None:
            animals.append(animal)
            draw_animal(rng, canvas, animal, base, len(animals))
    picture = cv2.resize(canvas.pixels, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.5) + rng.normal(0, 2.0, picture.shape)
    mask = np.zeros((height, width), np.uint8)
    for number, animal in enumerate(animals, 1):
        share = cv2.resize((canvas.objects == number).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        mask[share >= 0.5] = class_ids[animal.name]
    return np.clip(picture, 0, 255).round().astype(np.uint8), mask
