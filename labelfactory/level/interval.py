"""Intervals of estimated fractions, and how many more audited images would narrow them: Student's t on log(x / (1 − x))."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Numbers = NDArray[np.float64]

CONFIDENCE = 0.95
FEWEST = 10
"""Audited images of a class, below which it has no interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval, fractions.

    Attributes:
        value: NaN where nothing is known.
        low, high: NaN where there is no interval.
        images: audited images that bear on it.
    """

    value: float
    low: float
    high: float
    images: int

    @property
    def half(self) -> float:
        """Half of the interval's width; NaN where there is none."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Error:
    """What the error of the mIoU is made of.

    Attributes:
        sizes, counts: [H] images of each stratum, and those audited.
        variance: [H] that each stratum adds.
        within: variance that comes of points in place of true masks.
        freedom: degrees of freedom.
    """

    sizes: Numbers
    counts: Numbers
    variance: Numbers
    within: float
    freedom: float

    def half_with(self, factor: float) -> float:
        """Half of the interval's width with so many times the audited images of each stratum, on the plain scale."""
        counts = np.minimum(self.counts * factor, self.sizes)
        left = np.divide(
            1 / counts - 1 / self.sizes,
            1 / self.counts - 1 / self.sizes,
            where=self.counts < self.sizes,
            out=0 * counts,
        )
        error = np.sqrt(float(self.variance @ left) + self.within * self.counts.sum() / counts.sum())
        return float(_t(self.freedom * factor) * error)

    def more_for(self, half: float) -> int | None:
        """How many more audited images would give that half width; None where the whole set would not."""
        total = int(self.sizes.sum())
        low, high = 1.0, float((self.sizes / self.counts).max())
        if self.half_with(low) <= half:
            return 0
        if self.half_with(high) > half:
            return None
        while high - low > 0.001:
            middle = (low + high) / 2
            low, high = (low, middle) if self.half_with(middle) <= half else (middle, high)
        wanted = np.minimum(self.counts * high, self.sizes).sum()
        return min(int(np.ceil(wanted - 1e-6)), total) - int(self.counts.sum())


def interval_of(value: float, error: Error, images: int) -> Interval:
    """The interval of a fraction, on the scale log(x / (1 − x)); none where too few images were audited or it has no end there."""
    spread = np.sqrt(float(error.variance.sum()) + error.within)
    if images < FEWEST or not 0 < value < 1:
        known = images >= FEWEST and np.isfinite(value) and spread == 0
        return Interval(value, *((value, value) if known else (np.nan, np.nan)), images)
    odds, width = np.log(value / (1 - value)), _t(error.freedom) * spread / (value * (1 - value))
    low, high = (float(1 / (1 + np.exp(-np.clip(odds + sign * width, -700, 700)))) for sign in (-1, 1))
    return Interval(value, low, high, images)


def _t(freedom: float) -> float:
    return float(stdtrit(np.clip(freedom, 1, 1000), (1 + CONFIDENCE) / 2))
