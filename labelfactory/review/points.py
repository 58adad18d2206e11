"""Random pixels of a sampled image, at which a person says which class they show."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def drawn_points(
    seed: int, photograph: str, count: int, size: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of a photograph, uniform and with replacement; more points keep the first ones.

    Args:
        seed: of the sample.
        photograph: its SHA-256.
        count: of the points.
        size: height and width, upright.

    Returns:
        x and y, [count] int64 each, from the upper left corner.
    """
    entropy = int.from_bytes(hashlib.sha256(f"{seed} points {photograph}".encode()).digest())
    at = np.random.default_rng(entropy).random((count, 2))
    return (at[:, 0] * size[1]).astype(np.int64), (at[:, 1] * size[0]).astype(np.int64)
