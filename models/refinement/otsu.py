"""A threshold of its own for each class of each photograph: Otsu's, which divides its scores into two groups that differ most.

The line's one threshold for all photographs is not asked, unless a class has one score everywhere. The photograph is not looked at.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.settings.registry import MethodConfig
from models.refinement._claims import labels_of_claims
from models.refinement._crf import check_sizes, label_probabilities

BINS = 256
"""Of the scores between 0 and 1, as grey levels have them."""


class Config(MethodConfig):
    """Knobs of `otsu`."""

    gt_prob: float = Field(default=0.7, gt=0, lt=1, description="probability of a label")


def refine(
    image: NDArray[np.uint8], scores: NDArray[np.floating], *, threshold: float, scale: float, gt_prob: float
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first: `gt_prob` at the label, of scores [K, H, W] in [0, 1].

    A pixel belongs to the class of the highest score among those that reach their own threshold, else to the background.

    Source: Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE SMC 1979. Deviations: where several thresholds
    are equally good, as between two groups far apart, the middle one; `gt_prob` is that of `none`.
    """
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    claims = np.zeros(scores.shape, dtype=np.bool_)
    for claim, plane in zip(claims, scores, strict=True):
        claim[:] = plane >= otsu_threshold(plane, otherwise=threshold)
    return label_probabilities(labels_of_claims(claims, scores), len(scores) + 1, gt_prob=gt_prob)


def otsu_threshold(values: NDArray[np.floating], *, otherwise: float) -> float:
    """The threshold in [0, 1] whose two groups of values have means that differ most, for their sizes.

    Args:
        values: of any shape, in [0, 1]; counted in 256 steps.
        otherwise: what is returned where all of them are in one step.
    """
    levels = np.clip(np.rint(values.astype(np.float64) * (BINS - 1)), 0, BINS - 1).astype(np.int64)
    counts = np.bincount(levels.ravel(), minlength=BINS)
    below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * np.arange(BINS))[:-1]
    total, mass = counts.sum(), (counts * np.arange(BINS)).sum()
    divided = (below > 0) & (below < total)
    if not divided.any():
        return otherwise
    # the variance between the groups, times total²
    apart = (total * sum_below - below * mass)[divided].astype(np.float64)
    spread = apart**2 / (below * (total - below))[divided]
    best = np.flatnonzero(divided)[spread == spread.max()]
    return float((best.mean() + 0.5) / (BINS - 1))
