"""Each superpixel of the photograph takes one class: by its mean scores, or by the labels of its pixels.

Borders of masks are then borders of colour; a region that holds two things goes to one of them as a whole.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.settings.registry import MethodConfig
from models.refinement._crf import check_sizes
from models.refinement._refined import scores_with_background
from models.refinement.none import shares
from models.seeds import channels_above
from models.superpixels import region_means, superpixels


class Config(MethodConfig):
    """Knobs of `superpixel_vote`."""

    regions: int = Field(default=400, ge=1, le=100_000, description="superpixels of a photograph, about")
    compactness: float = Field(
        default=10,
        gt=0,
        le=1000,
        description="difference of colour, in units of Lab, that weighs as much as one region's side",
    )
    vote: Literal["mean", "majority"] = Field(
        default="mean", description="mean: a region's mean scores; majority: the labels of its pixels, one vote each"
    )


def refine(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    scale: float,
    regions: int,
    compactness: float,
    vote: Literal["mean", "majority"],
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first, of scores [K, H, W]; equal within a region.

    `mean` holds a region's mean scores against the background's threshold; its probabilities are their shares. Those of
    `majority` are the shares of the region's pixels that each label has at the threshold.

    Source: SLIC is of Achanta et al., TPAMI 2012 (models/superpixels.py), and so is the compactness of 10; votes of regions are
    common practice, the number of regions is ours.
    """
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    labels = superpixels(image, regions=regions, compactness=compactness)
    if vote == "mean":
        means = region_means(labels, scores)[:, labels]
        return shares(scores_with_background(means, threshold))
    channels = channels_above(scores, threshold)
    ballots = channels == np.arange(len(scores) + 1)[:, None, None]
    voted: NDArray[np.float32] = region_means(labels, ballots)[:, labels].astype(np.float32)
    return voted
