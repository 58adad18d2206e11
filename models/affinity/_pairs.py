"""Pairs of cells within a radius: the offsets, and affinities of features computed offset by offset.

B images, C feature channels, P offsets, h × w grid. Plane p of an affinity array holds at (y, x) the affinity of the
cells (y, x) and (y + dy, x + dx); where the partner lies outside the grid there is no pair, and the plane holds 0.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from labelfactory.errors import ShapeError

Offset = tuple[int, int]
Region = tuple[slice, slice]

_CHUNK = 2**20
"""Differences held at a time: a few megabytes stay in the cache, and a large image needs no second copy."""


def pair_offsets(radius: int) -> list[Offset]:
    """Offsets (dy, dx) of the cells nearer than `radius`, one of each two opposite ones: dy > 0, or dy = 0 and dx > 0.

    Radius 5 gives PSA's 34 offsets.

    Raises:
        ValueError: a radius under 2 joins no two cells.

    Source: the order of PSA's own list (ExtractAffinityLabelInRadius).
    """
    if radius < 2:
        raise ValueError(f"radius {radius} joins no two cells; the least is 2")
    right = [(0, dx) for dx in range(1, radius)]
    below = [(dy, dx) for dy in range(1, radius) for dx in range(1 - radius, radius) if dy**2 + dx**2 < radius**2]
    return right + below


def pair_regions(height: int, width: int, offset: Offset) -> tuple[Region, Region]:
    """Slices of the grid that hold the first and the second cell of every pair of one offset; may be empty."""
    dy, dx = offset
    rows, columns = max(0, height - abs(dy)), max(0, width - abs(dx))
    top, left = max(0, -dy), max(0, -dx)
    first = (slice(top, top + rows), slice(left, left + columns))
    second = (slice(top + dy, top + dy + rows), slice(left + dx, left + dx + columns)) if rows and columns else first
    return first, second


def each_pair_affinity(features: Tensor, offsets: Sequence[Offset]) -> Iterator[Tensor]:
    """Yield the affinity plane of one offset after the other; for inference, with one plane in memory at a time.

    Args:
        features: [C, h, w] of any float type; affinities are computed in float32.
        offsets: P pair offsets.

    Yields:
        [h, w] float32 in [0, 1].

    Raises:
        ShapeError: not a [C, h, w] array.
    """
    if features.ndim != 3:
        raise ShapeError(f"features must be [C, h, w], got {list(features.shape)}")
    wide = _at_least_float32(features.detach())
    for offset in offsets:
        yield _distance_plane(wide, offset).neg_().exp_().mul_(_has_partner(wide, offset))


def pair_affinities(features: Tensor, offsets: Sequence[Offset]) -> Tensor:
    """Affinity exp(-mean_c |f_i - f_j|) of each pair of cells; gradients flow to the features.

    Memory, with gradients too, is that of the features and of the result: nothing of size C · P is ever made.

    Args:
        features: [C, h, w] or [B, C, h, w] of any float type; computed in float32 under autocast too.
        offsets: P pair offsets.

    Returns:
        [P, h, w] or [B, P, h, w] float32 (float64 for float64 features) in [0, 1]; 0 where there is no pair.

    Raises:
        ShapeError: features of another rank.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464, equation 2; the mean over channels as in the authors' code.
    """
    if features.ndim not in (3, 4):
        raise ShapeError(f"features must be [C, h, w] or [B, C, h, w], got {list(features.shape)}")
    wide = _at_least_float32(features)
    distances: Tensor = _PairDistances.apply(wide, tuple(offsets))  # type: ignore[no-untyped-call]
    exists = torch.stack([_has_partner(wide, offset) for offset in offsets])
    return torch.exp(-distances) * exists


def _at_least_float32(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _has_partner(features: Tensor, offset: Offset) -> Tensor:
    """[h, w]: 1 at the first cell of each pair, 0 elsewhere."""
    height, width = features.shape[-2:]
    mask = features.new_zeros(height, width)
    mask[pair_regions(height, width, offset)[0]] = 1
    return mask


def _distance_plane(features: Tensor, offset: Offset) -> Tensor:
    """[..., h, w]: mean_c |f_i - f_j| at the first cell of each pair, 0 elsewhere."""
    height, width = features.shape[-2:]
    (rows, left), (_, right) = pair_regions(height, width, offset)
    plane = features.new_zeros(*features.shape[:-3], height, width)
    chunk = max(1, _CHUNK * height // max(1, features.numel()))
    for top in range(rows.start, rows.stop, chunk):
        first = slice(top, min(top + chunk, rows.stop))
        second = slice(first.start + offset[0], first.stop + offset[0])
        plane[..., first, left] = (features[..., first, left] - features[..., second, right]).abs_().mean(dim=-3)
    return plane


class _PairDistances(torch.autograd.Function):
    """Distance planes [..., P, h, w]. Plain autograd would keep every difference, P times the features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, offsets: tuple[Offset, ...]) -> Tensor:
        ctx.save_for_backward(features)
        ctx.offsets = offsets
        return torch.stack([_distance_plane(features, offset) for offset in offsets], dim=-3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        height, width = features.shape[-2:]
        result = torch.zeros_like(features)
        for number, offset in enumerate(ctx.offsets):
            first, second = pair_regions(height, width, offset)
            incoming = gradients[0][..., number, :, :][(..., *first)].unsqueeze(-3) / features.shape[-3]
            push = (features[(..., *first)] - features[(..., *second)]).sign_().mul_(incoming)
            result[(..., *first)] += push
            result[(..., *second)] -= push
        return result, None
