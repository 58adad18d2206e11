"""From class scores to labels: the best class where it exceeds the background threshold."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def confident_seeds(cam: Tensor, *, foreground: float, background: float) -> Tensor:
    """The start of a random walk: cells that confidently belong to the background or to a class. Other cells are 0.

    Args:
        cam: [K, h, w] in [0, 1], K at least 1.
        foreground: a cell whose best class reaches this is that class's.
        background: a cell whose best class is below this is the background's.

    Returns:
        [1 + K, h, w] float32 of 0 and 1, the background first; at most one channel is 1 in a cell.
    """
    best, channel = cam.max(dim=0)
    classes = torch.arange(len(cam), device=cam.device)[:, None, None]
    owned = (channel == classes) & (best >= foreground)
    return torch.cat([(best < background)[None], owned]).float()


def of_classes(probabilities: Tensor, class_ids: Sequence[int] | NDArray[np.uint8]) -> Tensor:
    """Restrict a segmenter's probabilities to the background and the tagged classes of a photograph.

    Args:
        probabilities: [1 + C, H, W], the background first, summing to 1 over the classes.
        class_ids: labels of the K tagged classes; 1 is the first.

    Returns:
        [1 + K, H, W], the background first, summing to 1; where all of them are 0, the background becomes 1.
    """
    known = probabilities[[BACKGROUND, *(int(k) for k in class_ids)]]
    known[0] += 1e-6
    return known / known.sum(dim=0)


def shares(walked: Tensor) -> Tensor:
    """Each class's share of the scores that reached a cell, among all classes and the background.

    Each channel is divided by its own maximum first, so that a large object does not outweigh a small one.

    Args:
        walked: [1 + K, h, w], the background first; values below 0 count as 0.

    Returns:
        [K, h, w] in [0, 1]; 0 where nothing arrived.
    """
    evidence = walked.clamp(min=0)
    evidence = evidence / evidence.amax(dim=(1, 2), keepdim=True).clamp(min=1e-5)
    return evidence[1:] / evidence.sum(dim=0).clamp(min=1e-5)
