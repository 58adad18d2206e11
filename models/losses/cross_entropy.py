"""The segmenter's loss: cross-entropy over the pixels that have a class."""

import torch.nn.functional as F
from torch import Tensor

from labelfactory.errors import ShapeError
from labelfactory.learning.ranks import joint_mean
from labelfactory.schema import VOID


def cross_entropy(logits: Tensor, masks: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean cross-entropy over the pixels that are not void, weighted by `weights` where given.

    Where several devices share a batch, over the pixels of all of it (`labelfactory.learning.ranks`).

    Args:
        logits: [B, n_classes, H, W].
        masks: [B, H, W], integers; 255 is void and does not count.
        weights: [B, H, W], non-negative: the trust in each pixel's label. Only their ratios count.

    Returns:
        A scalar; 0, with a gradient of 0, where every pixel is void or without weight.

    Raises:
        ShapeError: the shapes disagree.
    """
    expected = (logits.shape[0], *logits.shape[2:])
    for name, array in (("masks", masks), ("weights", weights)):
        if array is not None and tuple(array.shape) != expected:
            raise ShapeError(f"{name} {list(array.shape)} do not fit logits {list(logits.shape)}")
    labels = masks.long()
    losses = F.cross_entropy(logits.float(), labels, ignore_index=VOID, reduction="none")  # 0 where void
    trust = (labels != VOID).to(losses.dtype)
    if weights is not None:
        trust = trust * weights.to(losses.dtype)
    total = joint_mean(trust.sum())
    return (losses * trust).sum() / total.where(total > 0, 1)
