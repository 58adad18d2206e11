"""The random walk as a polynomial: x^t as a short Chebyshev series, a few dozen products for hundreds of steps."""

import math
from functools import lru_cache

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.propagation._transition import SparseTransition

DEFAULT_TOLERANCE = 5e-5
"""Keeps each value of scores in [0, 1] within 2e-4 of the exact walk, on every grid tried."""


class Config(MethodConfig):
    """Knobs of `chebyshev`."""

    steps: int = Field(default=256, ge=1, le=4096, description="length of the walk")
    tolerance: float = Field(
        default=0.0001, gt=0, lt=1, description="largest error of the polynomial against x^steps on [-1, 1]"
    )


def walk(scores: Tensor, transition: SparseTransition, *, steps: int, tolerance: float = DEFAULT_TOLERANCE) -> Tensor:
    """Diffuse class scores over the affinity grid; `models.propagation.exact.walk` to within a stated error.

    The symmetric form S of the step has its eigenvalues in [-1, 1], where the polynomial p of `power_series` differs
    from x^t by at most `tolerance`. Hence, in the norm |x|_d = sqrt(sum_i d_i x_i² / sum_i d_i), the result is within
    tolerance · |scores|_d of the exact walk. As p(1) = 1, both laws of the walk hold as they do for the exact one: a
    flat field stays flat, and the mass sum_i d_i x_i of each channel is kept (plain mass where all degrees are equal).
    Values can leave the range of `scores` by about the tolerance, below 0 too.

    Args:
        scores: [K, h, w] float32, at least 0.
        transition: one step, over the same h × w grid.
        steps: length t of the walk, at least 0.
        tolerance: bound on |p(x) - x^t| over [-1, 1].

    Returns:
        [K, h, w] float32, p(P) · scores for each channel, up to rounding.

    Raises:
        ShapeError: the grids differ.
        ValueError: a negative number of steps.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, for the walk; the series and its bound: docs/decisions/0004.
    """
    series = power_series(steps, tolerance)
    current = transition.enter(scores)  # T_0(S) · state
    result = torch.zeros_like(current)
    _accumulate(transition, result, current, series[0])
    previous = torch.zeros_like(current)
    for degree, coefficient in enumerate(series[1:], start=1):
        if degree == 1:
            transition.step(current, previous)
        else:
            transition.step(current, previous, gain=2.0, keep=-1.0)
        previous, current = current, previous  # current is T_degree(S) · state
        _accumulate(transition, result, current, coefficient)
    return transition.leave(result)


@lru_cache(maxsize=64)
def power_series(steps: int, tolerance: float) -> tuple[float, ...]:
    """Coefficients c_0..c_m of a polynomial sum_k c_k T_k(x) that is x^steps to within `tolerance` on [-1, 1].

    x^t = 2^(1-t) · sum over k = t, t-2, … of binomial(t, (t-k)/2) T_k(x), the term k = 0 halved. All coefficients are
    at least 0 and they sum to 1. What is cut off after degree m, the tail r(m), is divided over the rest, so that
    p(1) = 1 exactly; as |T_k| <= 1, |p(x) - x^t| <= 2 r(m). The degree m is the smallest for which this is at most
    `tolerance`; it never exceeds `steps`, and grows like sqrt(2 · steps · ln(4 / tolerance)).

    Raises:
        ValueError: a negative number of steps.
    """
    if steps < 0:
        raise ValueError(f"a walk of {steps} steps")
    degrees = range(steps % 2, steps + 1, 2)
    terms = []
    term = math.comb(steps, steps // 2) / 2**steps * (1 if steps % 2 == 0 else 2)
    for degree in degrees:
        terms.append(term)
        below = (steps - degree) // 2  # binomial(t, b - 1) = binomial(t, b) · b / (t - b + 1)
        term *= below / (steps - below + 1) * (2 if degree == 0 else 1)
    tail = 0.0
    while len(terms) > 1 and 2 * (tail + terms[-1]) <= tolerance:
        tail += terms.pop()
    total = math.fsum(terms)
    series = [0.0] * (degrees[len(terms) - 1] + 1)
    series[steps % 2 :: 2] = [term / total for term in terms]
    return tuple(series)


def _accumulate(transition: SparseTransition, result: Tensor, state: Tensor, coefficient: float) -> None:
    if coefficient == 0.0:  # every other degree: x^t has the parity of t
        return
    for lo, hi in transition.blocks(len(state)):
        result[:, lo:hi].add_(state[:, lo:hi], alpha=coefficient)
