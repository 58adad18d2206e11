"""Augmentation of a photograph and its mask: scale, crop, mirror, colour; all random choices come from the generator."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph
from labelfactory.schema import VOID, Mask

FILL = 127
"""Grey of what lies outside the photograph."""


@dataclass(frozen=True)
class Crop:
    """A window of a resized and perhaps mirrored photograph."""

    height: int
    width: int
    top: int
    left: int
    size: int
    mirrored: bool

    @property
    def window(self) -> NDArray[np.float32]:
        """[5] float32: top, left, height, width as shares of the photograph, and 1 where it is mirrored."""
        shares = (self.top / self.height, self.left / self.width, self.size / self.height, self.size / self.width)
        return np.array([*shares, self.mirrored], dtype=np.float32)


def choose_crop(shape: tuple[int, int], *, size: int, long_side: tuple[int, int], rng: np.random.Generator) -> Crop:
    """Choose a random crop of a photograph.

    Args:
        shape: (H, W) of the photograph.
        size: side of the square window, pixels.
        long_side: least and largest length that the photograph's longer side is resized to.
        rng: source of every choice.
    """
    factor = rng.uniform(*long_side) / max(shape)
    height, width = (max(1, round(side * factor)) for side in shape)
    top, left = (int(rng.integers(min(0, side - size), max(0, side - size) + 1)) for side in (height, width))
    return Crop(height, width, top, left, size, bool(rng.random() < 0.5))


def cut_photograph(image: Photograph, crop: Crop) -> Photograph:
    """The window of a photograph, [size, size, 3] uint8; what lies outside is grey."""
    shrinking = crop.height < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return _window(cv2.resize(image, (crop.width, crop.height), interpolation=interpolation), crop, FILL)


def cut_mask(mask: Mask, crop: Crop) -> Mask:
    """The same window of a mask of any size, [size, size] uint8, nearest; what lies outside is void."""
    return _window(cv2.resize(mask, (crop.width, crop.height), interpolation=cv2.INTER_NEAREST_EXACT), crop, VOID)


def cut_map(values: NDArray[np.uint8], crop: Crop) -> NDArray[np.float32]:
    """The same window of a map of any size in 0..255, [size, size] float32 in [0, 1], bilinear; 0 outside."""
    wide = cv2.resize(values, (crop.width, crop.height), interpolation=cv2.INTER_LINEAR)
    window: NDArray[np.float32] = _window(wide, crop, 0).astype(np.float32) / np.float32(255)
    return window


def _window(array: Any, crop: Crop, fill: int) -> NDArray[np.uint8]:
    out = np.full((crop.size, crop.size, *array.shape[2:]), fill, dtype=np.uint8)
    to_y, to_x = max(0, -crop.top), max(0, -crop.left)
    part = array[max(0, crop.top) : crop.top + crop.size, max(0, crop.left) : crop.left + crop.size]
    out[to_y : to_y + part.shape[0], to_x : to_x + part.shape[1]] = part
    return np.ascontiguousarray(out[:, ::-1]) if crop.mirrored else out


def jitter_colours(image: Photograph, strength: float, rng: np.random.Generator) -> Photograph:
    """Change brightness, contrast and saturation, each by a factor in 1 ± strength.

    Args:
        image: [H, W, 3] uint8 RGB.
        strength: 0 for none, below 1.
        rng: source of every choice.
    """
    if strength <= 0:
        return image
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3).astype(np.float32)
    pixels = image.astype(np.float32) * brightness
    grey = (pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32))[..., None]
    pixels = grey + (pixels - grey) * saturation
    pixels = grey.mean() + (pixels - grey.mean()) * contrast
    changed: Photograph = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    return changed
