"""A walk that keeps to regions of the photograph: it crosses a border only between regions that both hold sure evidence.

Regions are superpixels, joined where they have one colour. A region in which the start of the walk is sure of nothing takes in
nothing from its surroundings: evidence does not leak into it, and an object's part of another colour needs evidence of its own.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from labelfactory.errors import ShapeError
from models.propagation import chebyshev
from models.propagation._transition import SparseTransition
from models.propagation._weighted import Offset, partner, weighted
from models.superpixels import merged_by_colour, region_means, superpixels


class Config(chebyshev.Config):
    """Knobs of `region_gate`."""

    regions: int = Field(
        default=400, ge=1, le=100_000, description="superpixels of a photograph, about, before they are joined"
    )
    compactness: float = Field(
        default=10,
        gt=0,
        le=1000,
        description="difference of colour, in units of Lab, that weighs as much as one region's side",
    )
    difference: float = Field(
        default=8,
        ge=0,
        le=200,
        description="adjacent regions whose mean colours differ by at most this, in units of Lab, are one",
    )
    sure: float = Field(
        default=0.7, gt=0, le=1, description="score of a class or the background from which a cell is evidence"
    )
    share: float = Field(
        default=0.1, gt=0, le=1, description="share of a region's cells that must be evidence, for it to be open"
    )


def walk(
    scores: Tensor,
    transition: SparseTransition,
    *,
    photograph: Tensor,
    steps: int,
    tolerance: float,
    regions: int,
    compactness: float,
    difference: float,
    sure: float,
    share: float,
) -> Tensor:
    """Diffuse class scores over affinities that are cut between two regions unless both are open.

    On a photograph of one colour this is `chebyshev`.

    Args:
        scores, transition, steps, tolerance: as for `models.propagation.chebyshev.walk`.
        photograph: [3, H, W] in [0, 255]; every so many pixels in both directions there is a cell of the grid.
        regions, compactness, difference, sure, share: see `Config`.

    Returns:
        [K, h, w] float32.

    Raises:
        ShapeError: the grids differ.

    Source: the walk is that of Ahn & Kwak, CVPR 2018, arXiv:1803.10464; the gate is ours, and so are its settings.
    """
    labels = _labels_at_cells(photograph, transition.grid, regions, compactness, difference)
    evidence = (scores.amax(dim=0) >= sure).cpu().numpy()
    open_regions = region_means(labels, evidence[None])[0] >= share
    region = torch.from_numpy(labels).to(scores.device)
    is_open = torch.from_numpy(open_regions[labels]).to(scores.device)

    def factor(offset: Offset) -> Tensor:
        return ((region == partner(region, offset)) | (is_open & partner(is_open, offset))).float()

    return chebyshev.walk(scores, weighted(transition, factor), steps=steps, tolerance=tolerance)


def _labels_at_cells(
    photograph: Tensor, grid: tuple[int, int], regions: int, compactness: float, difference: float
) -> NDArray[np.int32]:
    """The region of each cell of the grid, [h, w], numbered without gaps."""
    image: Any = photograph.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    joined = merged_by_colour(
        superpixels(image, regions=regions, compactness=compactness), image, difference=difference
    )
    stride = max((pixels - 1) // max(cells - 1, 1) for pixels, cells in zip(joined.shape, grid, strict=True))
    labels = joined[:: max(stride, 1), :: max(stride, 1)]
    if labels.shape != grid:
        raise ShapeError(f"a photograph of {list(joined.shape)} pixels for cells {list(grid)}")
    return np.unique(labels, return_inverse=True)[1].reshape(grid).astype(np.int32)
