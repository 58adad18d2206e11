"""Labels of places from CAMs, and the loss of a head that learns the class of each place from them."""

import torch
from torch import Tensor

from labelfactory.learning.ranks import joint_mean

VOID = -1


def confident_places(cams: Tensor, *, foreground: float, background: float) -> Tensor:
    """[B, h, w] int64 of CAMs [B, C, h, w] in [0, 1]: 0 the background, 1 + c a class, −1 void."""
    highest, best = cams.max(dim=1)
    labels = torch.where(highest >= foreground, best + 1, torch.full_like(best, VOID))
    return torch.where(highest <= background, torch.zeros_like(best), labels)


def balanced_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean of the mean over background places and the mean over other places of cross-entropy with smoothed labels.

    Args:
        logits: [B, S, h, w] float32.
        labels: [B, h, w] int64, 0 the background, −1 void.
        smoothing: what the classes beside the label's get together.

    Returns:
        A scalar; means are of the joint batch where devices share one. A kind without places counts 0.
    """
    logarithms = logits.log_softmax(dim=1)
    others = smoothing / (logits.shape[1] - 1)
    own = logarithms.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    losses = -(1 - smoothing - others) * own - others * logarithms.sum(dim=1)
    means = [
        (losses * chosen).sum() / joint_mean(chosen.sum().float()).clamp(min=1e-5)
        for chosen in (labels == 0, labels > 0)
    ]
    return (means[0] + means[1]) / 2
