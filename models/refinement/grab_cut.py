"""GrabCut, class by class: mixtures of Gaussians for the colours of object and rest, and the cheapest cut between the two.

It starts from the walk: places whose scores are sure stay as they are, the others are cut anew. A class whose colours are those of
its surroundings loses or gains whole parts. A class of a photograph of 500 × 375 takes 0.1 to 1.5 s.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.settings.registry import MethodConfig
from models.refinement._claims import labels_of_claims
from models.refinement._crf import check_sizes, label_probabilities
from models.seeds import channels_above

COMPONENTS = 5
"""Of each mixture, in OpenCV and in the paper."""


class Config(MethodConfig):
    """Knobs of `grab_cut`."""

    iterations: int = Field(default=5, ge=1, le=50, description="of mixtures and cut")
    margin: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="sure are scores this far from the background's threshold on the way to 1, or to 0; with 1, those at the end",
    )
    gt_prob: float = Field(default=0.7, gt=0, lt=1, description="probability of a label")


def refine(
    image: NDArray[np.uint8],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    scale: float,
    iterations: int,
    margin: float,
    gt_prob: float,
) -> NDArray[np.float32]:
    """Probabilities [1 + K, H, W], the background first: `gt_prob` at the label, of scores [K, H, W] in [0, 1].

    For each class all other classes count as background. A pixel that several classes claim goes to the one of the highest score,
    one that none claims to the background. A class with too few pixels on one side of the threshold to tell colours keeps
    its labels. OpenCV draws the first centres of the mixtures at random: from the same seed for each class, so that
    neither the order of classes nor what ran before matters. A mirrored photograph draws others.

    Source: Rother et al., "GrabCut", SIGGRAPH 2004, as OpenCV has it; five iterations as in its tutorial. Deviations: no person
    draws a box or mends the cut: scores decide what is sure, by a margin that is ours.
    """
    check_sizes(image, scores.shape[1:], len(scores) + 1)
    channels = channels_above(scores, threshold)
    pixels = np.ascontiguousarray(image)
    claims = np.zeros(scores.shape, dtype=np.bool_)
    for number, claim in enumerate(claims):
        claim[:] = _cut(pixels, _trimap(channels, number + 1, scores, threshold, margin), iterations)
    return label_probabilities(labels_of_claims(claims, scores), len(scores) + 1, gt_prob=gt_prob)


def _trimap(
    channels: NDArray[np.int64], channel: int, scores: NDArray[np.floating], threshold: float, margin: float
) -> NDArray[np.uint8]:
    """OpenCV's four values [H, W]: surely or probably the class, surely or probably not."""
    best = scores.max(axis=0)
    own = channels == channel
    trimap = np.where(own, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    certain = best >= threshold + margin * (1 - threshold)
    trimap[certain & own] = cv2.GC_FGD
    trimap[~own & (certain | (best <= (1 - margin) * threshold))] = cv2.GC_BGD
    return trimap


def _cut(image: NDArray[np.uint8], trimap: NDArray[np.uint8], iterations: int) -> NDArray[np.bool_]:
    """Where the class is after GrabCut, [H, W]."""
    given: NDArray[np.bool_] = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    if not COMPONENTS <= np.count_nonzero(given) <= given.size - COMPONENTS:
        return given
    cv2.setRNGSeed(0)
    rest, object_ = np.zeros((1, 13 * COMPONENTS)), np.zeros((1, 13 * COMPONENTS))
    unused = (0, 0, 1, 1)
    cut: Any = cv2.grabCut(image, trimap, unused, rest, object_, iterations, cv2.GC_INIT_WITH_MASK)[0]
    return np.asarray((cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD), dtype=np.bool_)
