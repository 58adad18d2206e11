"""The classifier's loss: an independent binary cross-entropy for each class."""

import torch.nn.functional as F
from torch import Tensor

from labelfactory.errors import ShapeError


def multilabel_soft_margin(logits: Tensor, tags: Tensor) -> Tensor:
    """Mean over images and classes of the binary cross-entropy.

    Args:
        logits: [B, C].
        tags: [B, C], 1 where the image has the tag, else 0. An image without tags is a valid negative.

    Raises:
        ShapeError: the shapes differ.
    """
    if logits.shape != tags.shape:
        raise ShapeError(f"logits {list(logits.shape)} and tags {list(tags.shape)} differ")
    return F.multilabel_soft_margin_loss(logits.float(), tags.float())
