"""Specks: connected regions of a mask that are too small to be objects. Exports of objects leave them out."""

import cv2
import numpy as np
from numpy.typing import NDArray

from labelfactory.schema import BACKGROUND, VOID, Mask

MIN_AREA = 20
"""Pixels of the smallest object that is exported, unless an option says otherwise."""


def left_out_specks(mask: Mask, edited: Mask) -> NDArray[np.bool_]:
    """Where a mask has specks that are background in an edited one, since its format holds objects alone.

    Args:
        mask: [H, W] uint8, before it was exported.
        edited: the same size.

    Returns:
        [H, W] bool.
    """
    specks = np.zeros(mask.shape, dtype=np.bool_)
    for label in (int(k) for k in np.unique(mask) if k not in (BACKGROUND, VOID)):
        count, numbered, boxes, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8), connectivity=8)
        for number in range(1, count):
            left, top, width, height, area = (int(value) for value in boxes[number])
            box = np.s_[top : top + height, left : left + width]
            region = numbered[box] == number
            if area < MIN_AREA and (edited[box][region] == BACKGROUND).all():
                specks[box] |= region
    return specks
