"""The quality of a mask: the IoU with its truth that two opinions let one expect, without the truth.

The opinions are the model's probabilities of each class, which it has learnt from all masks, and the walk's scores, from which this
mask was made. They are multiplied, as if they erred independently: docs/decisions/0015.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.schema import BACKGROUND, Mask

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Overlap:
    """Intersection and union of each class of a mask with its truth: [K] float32, shares of all pixels."""

    intersection: Floats
    union: Floats

    @property
    def iou(self) -> Floats:
        """[K] float32; 0 where a class is in neither."""
        return np.divide(self.intersection, self.union, out=np.zeros_like(self.union), where=self.union > 0)


def expected_overlap(
    mask: Mask, probabilities: NDArray[np.floating], class_ids: Sequence[int] | NDArray[np.integer]
) -> Overlap:
    """The overlap of a mask with a truth that is known by probabilities alone.

    Where p(x) is the chance that the truth at x is the class and M are the pixels of the class in the mask, the expected
    intersection is the sum of p over M, and the expected union |M| plus the sum of p outside M.

    Args:
        mask: [h, w] uint8 of class ids, 255 void, which is no class.
        probabilities: [K, h, w] in [0, 1], of each class.
        class_ids: [K] id of each channel.

    Raises:
        ShapeError: the sizes differ.
    """
    if probabilities.shape != (len(class_ids), *mask.shape):
        raise ShapeError(f"probabilities {probabilities.shape} of {len(class_ids)} classes for a mask {mask.shape}")
    found = [_of_class(mask == k, p) for k, p in zip(class_ids, probabilities, strict=True)]
    shares = np.array(found, dtype=np.float64).reshape(-1, 2).T / max(mask.size, 1)
    return Overlap(*shares.astype(np.float32))


def _of_class(inside: NDArray[np.bool_], p: NDArray[np.floating]) -> tuple[float, float]:
    intersection, total = float(p[inside].sum(dtype=np.float64)), float(p.sum(dtype=np.float64))
    return intersection, float(inside.sum()) + total - intersection


def overlap(mask: Mask, truth: Mask, class_ids: Sequence[int] | NDArray[np.integer]) -> Overlap:
    """The overlap of a mask with a truth that is known; both [h, w] uint8, 255 void."""
    return expected_overlap(mask, np.stack([truth == k for k in class_ids]).astype(np.float32), class_ids)


def joined(*opinions: NDArray[np.floating]) -> Floats:
    """What several opinions say together.

    Args:
        opinions: each [K, h, w], not negative, the background first; each pixel of each is divided by its sum.

    Returns:
        [K, h, w] float32, their product, summing to 1 over the classes; the background where nothing is left.
    """
    product = np.ones(opinions[0].shape, dtype=np.float32)
    for opinion in opinions:
        product *= opinion / np.maximum(opinion.sum(axis=0), 1e-6)
    product[BACKGROUND] += 1e-6
    together: Floats = product / product.sum(axis=0)
    return together
