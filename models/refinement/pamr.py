"""Pixel-adaptive mask refinement: each pixel takes the mean of its neighbours, near and far, where those of like colour count most.

Nothing is learnt. A difference of colour counts by how much colours differ around the pixel, so that weak edges hold where all is
smooth. It runs on one core and takes 280 bytes a pixel by default, most of them for its neighbours, 4 each.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from models.refinement._crf import check_sizes
from models.refinement._dilated import (
    DilatedConfig,
    deviation,
    each_neighbour,
    offsets_of,
    refined_along,
    softmax_in_place,
    spread,
)


class Config(DilatedConfig):
    """Knobs of `pamr`."""

    contrast: float = Field(
        default=0.1,
        gt=0,
        le=10,
        description="difference of colour, in standard deviations, at which affinity falls to 1 / e",
    )


def refine(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    scale: float,
    dilations: Sequence[int],
    iterations: int,
    contrast: float,
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first, of scores [K, H, W] beside the background's threshold.

    Source: Araslanov & Roth, CVPR 2020, arXiv:2005.08104; dilations, iterations, contrast and the order of neighbours as in the
    authors' code (visinf/1-stage-wseg). Deviations: scores are the walk's shares and the threshold in place of a segmenter's
    soft-max; the photograph has the line's scale (theirs is a quarter, as the segmenter's output).
    """
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    offsets = offsets_of(dilations)
    return refined_along(affinities(image, offsets, contrast=contrast), scores, threshold, offsets, iterations)


@torch.no_grad()
def affinities(image: NDArray[np.uint8], offsets: Sequence[tuple[int, int]], *, contrast: float) -> Tensor:
    """The weight of each neighbour of each pixel, [P, H, W] float32, sum 1: soft-max of −mean_c |difference| / (contrast · σ_c).

    σ_c is the deviation of channel c over all neighbours; the pixel itself counts once for each dilation.
    """
    planes = spread(image)
    unit = 1e-8 + contrast * deviation(planes, offsets, own=len(offsets) // 8)
    logits = planes.new_empty(len(offsets), *planes.shape[1:])
    for logit, neighbour in zip(logits, each_neighbour(planes, offsets), strict=True):
        logit.copy_((neighbour - planes).abs_().div_(unit).mean(dim=0).neg_())
    return softmax_in_place(logits)
