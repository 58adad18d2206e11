"""The objects of a mask: its connected regions. Specks, which are smaller than `--min-area`, are left out and counted."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.schema import BACKGROUND, VOID, Mask


@dataclass(frozen=True)
class Region:
    """One connected region of a class; pixels that touch at a corner are connected."""

    label: int
    left: int
    top: int
    pixels: NDArray[np.bool_]
    """[h, w] of its box, whose upper left pixel is (left, top)."""

    def within(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Its pixels in the whole image, [H, W]."""
        whole = np.zeros(shape, dtype=np.bool_)
        height, width = self.pixels.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.pixels
        return whole


class Objects:
    """The objects of many masks, and how many specks were left out.

    Args:
        min_area: pixels of the smallest region that counts as an object.
    """

    def __init__(self, min_area: int) -> None:
        self.min_area = min_area
        self.count = self.specks = self.speck_pixels = self.emptied = 0

    def of(self, mask: Mask) -> list[Region]:
        """The objects of one mask, [H, W] uint8, by class; background and void are none."""
        objects, specks = [], 0
        for label in (int(k) for k in np.unique(mask) if k not in (BACKGROUND, VOID)):
            count, numbered, boxes, _ = cv2.connectedComponentsWithStats(
                (mask == label).astype(np.uint8), connectivity=8
            )
            for number in range(1, count):
                left, top, width, height, area = (int(value) for value in boxes[number])
                if area < self.min_area:
                    specks += 1
                    self.speck_pixels += area
                else:
                    box = numbered[top : top + height, left : left + width]
                    objects.append(Region(label, left, top, box == number))
        self.count += len(objects)
        self.specks += specks
        self.emptied += bool(specks and not objects)
        return objects

    def facts(self) -> dict[str, Any]:
        """For provenance.json."""
        return {
            "objects": self.count,
            "min_area": self.min_area,
            "specks_left_out": self.specks,
            "speck_pixels_left_out": self.speck_pixels,
            "photographs_with_specks_alone": self.emptied,
        }
