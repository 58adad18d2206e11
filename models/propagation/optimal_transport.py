"""The walk, then a division of all places among the classes in which each class keeps its area: optimal transport.

Where two classes walk over the same places, the stronger one would take them all. Here each class receives the share of the
evidence that it had at the start, at the places that suit it best.
"""

import torch
from pydantic import Field
from torch import Tensor

from models.propagation import chebyshev
from models.propagation._transition import SparseTransition

LEAST = 1e-30
"""Keeps quotients finite where a place or a class has nothing."""


class Config(chebyshev.Config):
    """Knobs of `optimal_transport`."""

    softness: float = Field(
        default=0.5, ge=0.02, le=1, description="1: shares as the walk left them; less: each place goes to one class"
    )
    evenness: float = Field(
        default=0,
        ge=0,
        le=1,
        description="areas of the classes: 0: those at the start of the walk; 1: all classes the same",
    )
    rounds: int = Field(default=50, ge=1, le=10_000, description="of Sinkhorn's iterations")


def walk(
    scores: Tensor,
    transition: SparseTransition,
    *,
    steps: int,
    tolerance: float,
    softness: float,
    evenness: float,
    rounds: int,
) -> Tensor:
    """Diffuse class scores, then move them between the channels of each cell so that each channel has its area.

    The cost of a class at a cell is −log of its share of the walked scores there. What each cell holds in all stays; what
    each channel holds is, to the accuracy of the iterations, its prior: the sum of its scores at the start, to the power
    1 − evenness. A single channel is left as it is.

    Args and result: as `models.propagation.chebyshev.walk`.

    Source: Sinkhorn's iterations as in Cuturi, NIPS 2013, arXiv:1306.0895; that areas of classes bind a transport between
    places and classes is in Rossetti et al. (PC2M), 2023, arXiv:2303.17410, for the training of a network. The prior, its
    place after the walk and all settings are ours.
    """
    walked = chebyshev.walk(scores, transition, steps=steps, tolerance=tolerance).clamp(min=0)
    prior = scores.double().sum(dim=(1, 2))
    prior = torch.where(prior > 0, prior ** (1 - evenness), 0.0)
    return divided(walked, prior, softness=softness, rounds=rounds).float()


def divided(walked: Tensor, prior: Tensor, *, softness: float, rounds: int) -> Tensor:
    """Scores [K, h, w], at least 0: their sums over the channels are those of `walked`, those over the cells as `prior` [K]."""
    mass = walked.double().flatten(1)
    places = mass.sum(dim=0)
    kernel = (mass / places.clamp(min=LEAST)) ** (1 / softness)
    areas = prior * (places.sum() / prior.sum().clamp(min=LEAST))
    of_class = torch.ones_like(areas)
    of_place = places
    for _ in range(rounds):
        of_place = places / (of_class @ kernel).clamp(min=LEAST)
        of_class = areas / (kernel @ of_place).clamp(min=LEAST)
    plan = of_class[:, None] * kernel
    return (plan * (places / plan.sum(dim=0).clamp(min=LEAST))).view_as(walked)
