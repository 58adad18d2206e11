"""A photograph of noise with an edge, and scores of noise: what refinements are tried on."""

import numpy as np


def photograph(height: int = 14, width: int = 17, seed: int = 0) -> np.ndarray:
    """A dark and a bright half with noise."""
    noise = np.random.default_rng(seed).integers(0, 60, size=(height, width, 3), dtype=np.uint8)
    noise[:, width // 2 :] += 150
    return noise


def some_scores(channels: int, image: np.ndarray, seed: int = 0) -> np.ndarray:
    """[channels, H, W] float32 of an image's size, summing to 1."""
    scores = np.random.default_rng(seed).random((channels, *image.shape[:2]), dtype=np.float32)
    return scores / scores.sum(axis=0)
