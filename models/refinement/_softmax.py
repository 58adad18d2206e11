"""Probabilities of channels from their logarithms against the first one."""

import numpy as np
from numba import float32, int32
from numpy.typing import NDArray

from models.compiled import compiled, inlined

BLOCK = 512
LEAST_EXPONENT = -87.0
"""A smaller one gives numbers that processors treat differently."""

Floats = NDArray[np.float32]


@compiled
def softmax(probabilities: Floats, logits: Floats) -> None:
    """Fill `probabilities` [K, N] from `logits` [K - 1, N] of all channels but the first, whose logit is 0."""
    others, pixels = logits.shape
    most, total = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    shifted, bits = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    for start in range(0, pixels, BLOCK):
        size = min(BLOCK, pixels - start)
        for k in range(size):
            most[k] = float32(0)
        for channel in range(others):
            logit = logits[channel, start : start + size]
            for k in range(size):
                most[k] = max(most[k], logit[k])
        for k in range(size):
            shifted[k] = -most[k]
            total[k] = float32(0)
        for channel in range(others + 1):
            probability = probabilities[channel, start : start + size]
            if channel > 0:
                logit = logits[channel - 1, start : start + size]
                for k in range(size):
                    shifted[k] = logit[k] - most[k]
            _exp(probability, shifted, bits)
            for k in range(size):
                total[k] += probability[k]
        for channel in range(others + 1):
            probability = probabilities[channel, start : start + size]
            for k in range(size):
                probability[k] /= total[k]


@inlined
def _exp(result: Floats, exponents: Floats, bits: NDArray[np.int32]) -> None:
    """exp of numbers up to 0, to two units in the last place. The library's own takes one number at a time.

    Source: Cephes, expf.
    """
    powers = bits.view(np.float32)
    for k in range(len(result)):
        exponent = max(exponents[k], float32(LEAST_EXPONENT))
        power = np.rint(exponent * float32(1.44269504088896341))
        rest = exponent - power * float32(0.693359375) + power * float32(2.12194440e-4)
        series = float32(1.9875691500e-4)
        series = series * rest + float32(1.3981999507e-3)
        series = series * rest + float32(8.3334519073e-3)
        series = series * rest + float32(4.1665795894e-2)
        series = series * rest + float32(1.6666665459e-1)
        series = series * rest + float32(5.0000001201e-1)
        result[k] = series * rest * rest + rest + float32(1)
        bits[k] = (int32(power) + int32(127)) << int32(23)
    for k in range(len(result)):
        result[k] *= powers[k]
