"""No refinement: the probabilities follow from the scores alone, without the photograph."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.settings.registry import MethodConfig
from models.refinement._crf import check_sizes, label_probabilities
from models.refinement._refined import scores_with_background
from models.seeds import channels_above


class Config(MethodConfig):
    """Knobs of `none`."""

    unary: Literal["labels", "scores"] = Field(
        default="labels", description="probabilities from the labels, or from the scores"
    )
    gt_prob: float = Field(default=0.7, gt=0, lt=1, description="with `labels`, the probability of a label")


def refine(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    scale: float,
    unary: Literal["labels", "scores"],
    gt_prob: float,
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first, of scores [K, H, W] cut at the background's threshold."""
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    if unary == "labels":
        return label_probabilities(channels_above(scores, threshold), len(scores) + 1, gt_prob=gt_prob)
    return shares(scores_with_background(scores, threshold))


def shares(scores: NDArray[np.floating]) -> NDArray[np.float32]:
    """Scores [K, H, W], at least 0, divided by their sum over the channels; where all are 0, the channels have equal shares."""
    wide = scores.astype(np.float64)
    total = wide.sum(axis=0)
    divided = np.full(scores.shape, 1.0 / len(scores), dtype=np.float32)
    np.divide(wide, total, out=divided, where=total > 0, casting="same_kind")
    return divided
