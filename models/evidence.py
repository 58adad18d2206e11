"""What speaks for a mask without its truth: how far probabilities of somebody else agree with it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.schema import Mask

Floats = NDArray[np.float32]


def soft_overlap(
    mask: Mask, probabilities: NDArray[np.floating], class_ids: Sequence[int] | NDArray[np.integer]
) -> tuple[Floats, Floats]:
    """Intersection and union of each class of a mask with the truth, as probabilities expect them.

    Where p(x) is the chance that the truth at x is the class and M are the pixels of the class in the mask, the expected
    intersection is the sum of p over M, and the expected union |M| plus the sum of p outside M. Their ratio is the soft Jaccard
    index of mask and probabilities.

    Args:
        mask: [h, w] uint8 of class ids, 255 void, which is no class.
        probabilities: [K, h, w] in [0, 1], of each class.
        class_ids: [K] id of each channel.

    Returns:
        Two [K] float32: expected intersection and union, as shares of all pixels.

    Raises:
        ShapeError: the sizes differ.
    """
    if probabilities.shape != (len(class_ids), *mask.shape):
        raise ShapeError(f"probabilities {probabilities.shape} of {len(class_ids)} classes for a mask {mask.shape}")
    found = [_of_class(mask == k, p) for k, p in zip(class_ids, probabilities, strict=True)]
    shares = np.array(found, dtype=np.float64).reshape(-1, 2).T / max(mask.size, 1)
    return shares[0].astype(np.float32), shares[1].astype(np.float32)


def _of_class(inside: NDArray[np.bool_], p: NDArray[np.floating]) -> tuple[float, float]:
    intersection, total = float(p[inside].sum(dtype=np.float64)), float(p.sum(dtype=np.float64))
    return intersection, float(inside.sum()) + total - intersection


def ratio(intersection: Floats, union: Floats) -> Floats:
    """IoU of each class, [K] float32; 0 where a class is in neither."""
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def among(probabilities: Floats, channels: Sequence[int]) -> Floats:
    """Probabilities of some channels alone, [K', h, w], summing to 1 over them; the first of them where all are 0."""
    chosen = probabilities[list(channels)].astype(np.float32)
    chosen[0] += 1e-6
    scaled: Floats = chosen / chosen.sum(axis=0)
    return scaled
