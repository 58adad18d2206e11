"""Pixel correlation: the CAMs of a view, each place as the mean of the places that look like it.

Source  Wang et al., CVPR 2020, arXiv:2004.04581, and the authors' code.
"""

import torch
from torch import Tensor

EPSILON = 1e-5
PLACES = 1024
"""Places that are refined at once: memory grows with the grid, not with its square, where no gradient is kept."""


def with_background(maps: Tensor) -> Tensor:
    """[B, 1 + C, h, w] of maps [B, C, h, w] in [0, 1]: the background is 1 − the highest; of the classes the highest stays."""
    highest = maps.amax(dim=1, keepdim=True)
    return torch.cat([1 - highest, maps * (maps == highest)], dim=1)


def seeds_of(evidence: Tensor) -> Tensor:
    """What the module refines, [B, 1 + C, h, w] in [0, 1], of evidence [B, C, h, w]; each class relative to its maximum."""
    positive = evidence.relu()
    return with_background((positive - EPSILON).relu() / (positive.amax(dim=(2, 3), keepdim=True) + EPSILON))


def correlate(seeds: Tensor, embedding: Tensor) -> Tensor:
    """Mean of seeds [B, S, h, w] over all places, weighted by the positive part of the cosine of embedding [B, E, h, w]."""
    places = embedding.flatten(2)
    places = places / (places.norm(dim=1, keepdim=True) + EPSILON)
    means = []
    for part in places.split(PLACES, dim=2):
        weights = (places.transpose(1, 2) @ part).relu()
        means.append(seeds.flatten(2) @ (weights / (weights.sum(dim=1, keepdim=True) + EPSILON)))
    return torch.cat(means, dim=2).view_as(seeds)
