"""Quantiles of Student's t distribution, for degrees of freedom that need not be whole."""

import math
from functools import lru_cache

import numpy as np

from labelfactory.errors import ShapeError

STEPS = 4000
"""Of Simpson's rule; even."""


@lru_cache(maxsize=4096)
def t_quantile(probability: float, freedom: float) -> float:
    """The value that a t-distributed variable exceeds with the chance 1 − `probability`.

    Args:
        probability: in (0.5, 1).
        freedom: degrees of freedom, at least 1.

    Returns:
        Within 0.001 of the exact value.

    Raises:
        ShapeError: an argument is outside of its range.
    """
    if not (0.5 < probability < 1 and freedom >= 1):
        raise ShapeError(f"no quantile of {probability} at {freedom} degrees of freedom")
    # with x = sqrt(freedom) tan(a), the density is that of cos(a) ** (freedom - 1) on a bounded interval
    low, high = 0.0, math.pi / 2
    whole = _integral(high, freedom)
    for _ in range(50):
        middle = (low + high) / 2
        below = 0.5 + 0.5 * _integral(middle, freedom) / whole
        low, high = (middle, high) if below < probability else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _integral(angle: float, freedom: float) -> float:
    """The integral of cos(a) ** (freedom − 1) from 0 to an angle, by Simpson's rule."""
    at = np.cos(np.linspace(0.0, angle, STEPS + 1)).clip(0.0) ** (freedom - 1)
    return float(angle / STEPS / 3 * (at[0] + at[-1] + 4 * at[1:-1:2].sum() + 2 * at[2:-1:2].sum()))
