"""k-means, the same clusters for the same seed."""

import torch
from torch import Tensor

ROUNDS = 100
"""Most rounds of k-means; it stops when no point changes its cluster."""


def k_means(points: Tensor, clusters: int, seed: int) -> Tensor:
    """Clusters of points [N, D] float32, as indices [N] int64 below min(clusters, N).

    The first centres are drawn as k-means++ draws them. A cluster that loses all its points keeps its centre.
    """
    count = min(clusters, len(points))
    generator = torch.Generator().manual_seed(seed)
    points = points.double().cpu()
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(count - 1):
        distances = torch.cdist(points, centres).amin(dim=1).square()
        weights = distances if distances.any() else torch.ones_like(distances)
        centres = torch.cat([centres, points[torch.multinomial(weights, 1, generator=generator)]])
    members = torch.cdist(points, centres).argmin(dim=1)
    for _ in range(ROUNDS):
        sums = torch.zeros_like(centres).index_add_(0, members, points)
        sizes = torch.bincount(members, minlength=count)[:, None]
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        nearest = torch.cdist(points, centres).argmin(dim=1)
        if torch.equal(nearest, members):
            break
        members = nearest
    return members
