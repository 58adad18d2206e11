"""The random walk step by step: `steps` sparse products."""

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.propagation._transition import SparseTransition


class Config(MethodConfig):
    """Knobs of `exact`."""

    steps: int = Field(default=256, ge=1, le=4096, description="length of the walk")


def walk(scores: Tensor, transition: SparseTransition, *, steps: int) -> Tensor:
    """Diffuse class scores over the affinity grid; each step takes affinity-weighted means.

    One step is P = D^-1 A (A symmetric affinities, d their row sums). The authors write it as the row vector of scores
    times the column-normalised matrix A D^-1, which is the same. It follows that a flat field stays flat, scores stay
    within their least and greatest value, and the mass sum_i d_i x_i of each channel is kept, which is the plain sum
    where all degrees are equal.

    Args:
        scores: [K, h, w] float32, at least 0.
        transition: one step, over the same h × w grid.
        steps: length t of the walk, at least 0.

    Returns:
        [K, h, w] float32, P^t · scores for each channel, up to rounding.

    Raises:
        ShapeError: the grids differ.
        ValueError: a negative number of steps.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, the paragraph on the random walk; docs/decisions/0004.
    """
    if steps < 0:
        raise ValueError(f"a walk of {steps} steps")
    state = transition.enter(scores)
    other = torch.zeros_like(state)
    for _ in range(steps):
        transition.step(state, other)
        state, other = other, state
    return transition.leave(state)
