"""No refinement: scores and labels come back as probabilities, whatever the photograph shows."""

import numpy as np
from numpy.typing import NDArray

from models.refinement.dense_crf import CrfConfig, check_sizes, label_probabilities


def refine_scores(image: NDArray[np.uint8], scores: NDArray[np.floating], *, config: CrfConfig) -> NDArray[np.float32]:
    """Return the scores divided by their sum over the channels; where all are 0, the channels share alike.

    Args:
        image: [H, W, 3] uint8 RGB; only its size is looked at.
        scores: [K, H, W], at least 0.
        config: not read; the methods of this family share one signature.

    Returns:
        [K, H, W] float32 probabilities, sum 1 over the channels.

    Raises:
        ShapeError: image and scores differ in size, or there is no channel.
    """
    check_sizes(image, scores.shape[1:], scores.shape[0])
    wide = scores.astype(np.float64)
    total = wide.sum(axis=0)
    shares = np.full(scores.shape, 1.0 / len(scores), dtype=np.float32)
    np.divide(wide, total, out=shares, where=total > 0, casting="same_kind")
    return shares


def refine_labels(
    image: NDArray[np.uint8], labels: NDArray[np.integer], channels: int, *, gt_prob: float, config: CrfConfig
) -> NDArray[np.float32]:
    """Return the labelling as probabilities: `gt_prob` at the label, the rest shared by the other channels.

    Args:
        image: [H, W, 3] uint8 RGB; only its size is looked at.
        labels: [H, W] channel numbers in 0..channels - 1.
        channels: number K of channels.
        gt_prob: in (0, 1).
        config: not read; the methods of this family share one signature.

    Returns:
        [K, H, W] float32 probabilities, sum 1 over the channels.

    Raises:
        ShapeError: image and labels differ in size, or a label is out of range.
    """
    check_sizes(image, labels.shape, channels)
    return label_probabilities(labels, channels, gt_prob=gt_prob)
