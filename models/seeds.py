"""From class scores to labels: the best class where it exceeds the background threshold."""

import numpy as np
import torch
from numpy.typing import NDArray

from labelfactory.schema import BACKGROUND
from models.grids import enlarge


def scores_at_size(scores: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.float32]:
    """Stored class scores [K, h, w] at another size, [K, *size] float32; K may be 0."""
    if len(scores) == 0:
        return np.zeros((0, *size), dtype=np.float32)
    wide: NDArray[np.float32] = enlarge(torch.from_numpy(scores.astype(np.float32))[None], size)[0].numpy()
    return wide


def channels_above(scores: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Channel numbers of a labelling at a background threshold.

    Args:
        scores: [K, H, W] in [0, 1]; K may be 0.
        threshold: the background's score.

    Returns:
        [H, W] int64: 0 background, k + 1 for channel k.
    """
    if len(scores) == 0:
        return np.zeros(scores.shape[1:], dtype=np.int64)
    labels: NDArray[np.int64] = np.where(scores.max(axis=0) >= threshold, scores.argmax(axis=0) + 1, BACKGROUND)
    return labels
