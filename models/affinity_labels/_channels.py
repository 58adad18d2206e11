"""Shared parts of this family: the check of a CAM, and the labels of an image without tags."""

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.schema import BACKGROUND, MAX_CLASSES


def check_cam(image: NDArray[np.uint8], cam: NDArray[np.floating]) -> None:
    """Compare a CAM with its image.

    Raises:
        ShapeError: not a [K, H, W] CAM at the image's size, or more channels than labels.
    """
    if image.ndim != 3 or cam.ndim != 3 or cam.shape[1:] != image.shape[:2] or len(cam) > MAX_CLASSES:
        raise ShapeError(f"CAM {list(cam.shape)} with image {list(image.shape)}")


def all_background(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H, W] uint8 of background: the labels of an image that has no tag."""
    return np.full(image.shape[:2], BACKGROUND, dtype=np.uint8)
