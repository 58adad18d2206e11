"""From stored class scores to the pseudo-mask, for the stage refine_crf and for the audit of a pixel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph, shrink
from labelfactory.schema import VOID, Mask, labels_from_channels
from labelfactory.settings.registry import MethodConfig
from models.seeds import channels_above, scores_at_size


class Refined(NamedTuple):
    """The pseudo-mask of one photograph.

    Attributes:
        mask: [H, W] uint8 of class ids, 255 void.
        probabilities: [1 + K, H, W] float32, the background first.
        agreement: share of pixels with the same class in the scores, cut at the threshold, and in the refinement.
    """

    mask: Mask
    probabilities: NDArray[np.float32]
    agreement: float


def refined(
    photograph: Photograph,
    scores: NDArray[np.floating],
    class_ids: Sequence[int] | NDArray[np.uint8],
    method: MethodConfig,
    *,
    threshold: float,
    scale: float,
    min_confidence: float,
) -> Refined:
    """Refine stored class scores.

    Args:
        photograph: [H, W, 3] uint8 RGB.
        scores: [K, h, w] in [0, 1], over the whole photograph; K may be 0.
        class_ids: [K].
        method: of models.refinement, with its knobs.
        threshold: the background's score.
        scale: of the photograph for the method, at most 1; its probabilities are enlarged.
        min_confidence: void where the best probability is lower.
    """
    size = (photograph.shape[0], photograph.shape[1])
    wide = scores_at_size(scores, size)
    image = shrink(photograph, scale)
    small = wide if scale >= 1 else scores_at_size(scores, (image.shape[0], image.shape[1]))
    probabilities = method.bind("refine")(image, small, threshold=threshold, scale=scale)
    if probabilities.shape[1:] != size:
        probabilities = scores_at_size(probabilities, size)
    channels = probabilities.argmax(axis=0)
    mask = labels_from_channels(channels, class_ids)
    mask[probabilities.max(axis=0) < min_confidence] = VOID
    return Refined(mask, probabilities, float((channels == channels_above(wide, threshold)).mean()))


def scores_with_background(scores: NDArray[np.floating], threshold: float) -> NDArray[np.float32]:
    """[1 + K, H, W]: the background's score, everywhere the threshold, before those of the classes [K, H, W]."""
    background = np.full((1, *scores.shape[1:]), threshold, dtype=np.float32)
    return np.concatenate([background, scores])
