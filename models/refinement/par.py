"""Pixel-adaptive refinement of AFA: as `pamr`, with a steeper kernel of colour and a weak one of distance beside it.

Nothing is learnt. The kernel of distance keeps scores moving where no neighbour has a like colour. It runs on one core and takes
280 bytes a pixel by default, most of them for its neighbours, 4 each.
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
    """Knobs of `par`."""

    contrast: float = Field(
        default=0.3,
        gt=0,
        le=10,
        description="difference of colour and of place, in standard deviations, at which affinity falls to 1 / e",
    )
    place: float = Field(
        default=0.01, ge=0, le=100, description="weight of the kernel of distance beside that of colour"
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
    place: float,
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first, of scores [K, H, W] beside the background's threshold.

    Source: Ru et al. (AFA), CVPR 2022, arXiv:2203.02664; dilations, iterations and both weights as in the authors' code
    (rulixiang/afa). Deviations: scores are the walk's shares and the threshold, without a soft-max; weights are divided by their
    sum, 1 + place, which changes no label.
    """
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    offsets = offsets_of(dilations)
    weights = affinities(image, offsets, contrast=contrast, place=place)
    return refined_along(weights, scores, threshold, offsets, iterations)


@torch.no_grad()
def affinities(
    image: NDArray[np.uint8], offsets: Sequence[tuple[int, int]], *, contrast: float, place: float
) -> Tensor:
    """The weight of each neighbour of each pixel, [P, H, W] float32, sum 1.

    Soft-max of −mean_c (difference / (contrast · σ_c))², with σ_c the deviation of channel c over the neighbours, and `place`
    times the soft-max of −(distance / (contrast · σ))², with σ the deviation of the distances.
    """
    planes = spread(image)
    unit = contrast * (deviation(planes, offsets, own=0) + 1e-8)
    logits = planes.new_empty(len(offsets), *planes.shape[1:])
    for logit, neighbour in zip(logits, each_neighbour(planes, offsets), strict=True):
        logit.copy_((neighbour - planes).div_(unit).square_().mean(dim=0).neg_())
    distances = torch.tensor(offsets, dtype=torch.float64).square().sum(dim=1).sqrt()
    near = (distances / (contrast * distances.std())).square().neg().softmax(dim=0).float()
    return softmax_in_place(logits).add_(place * near[:, None, None]).div_(1 + place)
