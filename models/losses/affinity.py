"""PSA's balanced affinity loss: high affinity for pairs of one class, low affinity for pairs of two classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from labelfactory.errors import ShapeError
from labelfactory.learning.ranks import joint_mean
from labelfactory.schema import BACKGROUND, VOID

_EPSILON = 1e-5
"""In the logarithms and the counts, as in the authors' code."""


def affinity_loss(affinities: Tensor, labels: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """Balance the mean -log likelihood of three kinds of pairs: background / 4 + foreground / 4 + different / 2.

    Background pairs are both background, foreground pairs both of one class; different pairs are of two classes,
    the background among them. A pair with a void cell does not count. A kind without pairs adds 0. Each mean is over
    all pairs of its kind in the batch, also where several devices share it (`labelfactory.learning.ranks`).

    Args:
        affinities: [B, P, h, w] in [0, 1]; plane p holds at (y, x) the pair (y, x), (y + dy, x + dx). Entries whose
            partner lies outside the grid are not read. Half precision is widened to float32, autocast or not.
        labels: [B, h, w] uint8: 0 background, 1.. classes, 255 void.
        offsets: the P pair offsets (dy, dx).

    Returns:
        Scalar, at least 0 (up to 1e-5), float32 (float64 for float64 affinities).

    Raises:
        ShapeError: batch, grid or number of offsets differ.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, equations 3-6; epsilons as in the authors' code.
    """
    batch, height, width = labels.shape
    if tuple(affinities.shape) != (batch, len(offsets), height, width):
        raise ShapeError(f"affinities {list(affinities.shape)}, labels {list(labels.shape)}, {len(offsets)} offsets")
    wide = affinities.float() if affinities.dtype in (torch.float16, torch.bfloat16) else affinities
    first = labels.unsqueeze(1)
    second = _partner_labels(labels, offsets)
    confident = (first != VOID) & (second != VOID)
    same = confident & (first == second)
    background = same & (first == BACKGROUND)

    like, unlike = -torch.log(wide + _EPSILON), -torch.log(1.0 + _EPSILON - wide)
    return (
        _mean_where(background, like) / 4
        + _mean_where(same & ~background, like) / 4
        + _mean_where(confident & ~same, unlike) / 2
    )


def _partner_labels(labels: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """[B, P, h, w]: the label at the other end of each pair, void where that lies outside the grid."""
    _, height, width = labels.shape
    reach = max((max(abs(dy), abs(dx)) for dy, dx in offsets), default=0)
    padded = torch.nn.functional.pad(labels, (reach,) * 4, value=VOID)
    views = [padded[:, reach + dy :, reach + dx :][:, :height, :width] for dy, dx in offsets]
    return torch.stack(views, dim=1)


def _mean_where(mask: Tensor, values: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0.0).sum() / joint_mean(mask.sum().to(values.dtype) + _EPSILON)
