"""A walk that passes less between places whose classes differ: affinities times 1 − the divergence of their distributions.

What AffinityNet takes for one thing is cut where the start of the walk already tells two classes apart, surely or by degrees.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from models.propagation import chebyshev
from models.propagation._transition import SparseTransition
from models.propagation._weighted import Offset, partner, weighted


class Config(chebyshev.Config):
    """Knobs of `class_distribution`."""

    power: float = Field(default=1, gt=0, le=64, description="on 1 − the divergence of two places' classes")


def walk(scores: Tensor, transition: SparseTransition, *, steps: int, tolerance: float, power: float) -> Tensor:
    """Diffuse class scores over affinities that are multiplied by (1 − Jensen–Shannon divergence) ** power.

    The divergence, in bits and hence in [0, 1], is that of the shares of the channels at two cells, at the start of the walk:
    0 where they are equal, 1 where they have no channel in common. A cell without any score passes as much as it did. With a
    single channel (`seeds: cam` and one tag) this is `chebyshev`.

    Args and result: as `models.propagation.chebyshev.walk`.

    Source: the walk is that of Ahn & Kwak, CVPR 2018, arXiv:1803.10464; the factor is ours, with the divergence of Lin, IEEE
    Transactions on Information Theory 1991.
    """
    total = scores.sum(dim=0)
    shares = scores / total.clamp(min=1e-12)
    entropy, known = _bits(shares), total > 0

    def factor(offset: Offset) -> Tensor:
        mixed = _bits((shares + partner(shares, offset)) / 2)
        divergence = mixed - (entropy + partner(entropy, offset)) / 2
        alike = (1 - divergence).clamp(0, 1) ** power
        return torch.where(known & partner(known, offset), alike, 1.0)

    return chebyshev.walk(scores, weighted(transition, factor), steps=steps, tolerance=tolerance)


def _bits(shares: Tensor) -> Tensor:
    """The entropy of shares [K, h, w] at each cell, [h, w]."""
    entropy: Tensor = torch.special.entr(shares).sum(dim=0) / math.log(2)
    return entropy
