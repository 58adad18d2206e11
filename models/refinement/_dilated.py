"""Scores that move along local affinities: what `pamr` and `par` share.

Each pixel has eight neighbours at each dilation. Over the border, the outermost pixels are repeated. P neighbours, H × W pixels.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.refinement._refined import scores_with_background
from models.refinement.none import shares

BLOCK = 2**16
"""Values of the result that are summed at a time: they stay in the cache."""


class DilatedConfig(MethodConfig):
    """Knobs of both methods."""

    dilations: tuple[Annotated[int, Field(ge=1, le=128)], ...] = Field(
        default=(1, 2, 4, 8, 12, 24),
        min_length=1,
        max_length=16,
        description="distances of neighbours, pixels of the photograph at `scale`",
    )
    iterations: int = Field(
        default=10, ge=0, le=200, description="how often each pixel takes the mean of its neighbours"
    )


def offsets_of(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """(dy, dx) of all P neighbours."""
    return [(dy * d, dx * d) for d in dilations for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def each_neighbour(planes: Tensor, offsets: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
    """Yield the planes [C, H, W] as seen from each pixel's neighbour at one offset after the other."""
    height, width = planes.shape[-2:]
    margin = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    padded = F.pad(planes, [margin] * 4, mode="replicate")
    for dy, dx in offsets:
        yield padded[..., margin + dy : margin + dy + height, margin + dx : margin + dx + width]


def spread(image: NDArray[np.uint8]) -> Tensor:
    """A photograph [H, W, 3] uint8 as planes [3, H, W] float32 in [0, 255]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()


def deviation(planes: Tensor, offsets: Sequence[tuple[int, int]], *, own: int) -> Tensor:
    """The standard deviation of each pixel's neighbours, and of `own` copies of itself, [C, H, W] float32.

    Of whole numbers sums are exact: where all are alike, it is 0 and not a rounding error.
    """
    first = own * planes.double()
    second = own * planes.double().square()
    for neighbour in each_neighbour(planes, offsets):
        first += neighbour
        second += neighbour.double().square()
    count = len(offsets) + own
    return ((count * second - first.square()).clamp(min=0) / (count * (count - 1))).sqrt().float()


def softmax_in_place(logits: Tensor) -> Tensor:
    """The soft-max over the first of [P, H, W], in the memory of the logits: a large photograph has room for one such array."""
    logits.sub_(logits.amax(dim=0)).exp_()
    return logits.div_(logits.sum(dim=0))


@torch.no_grad()
def refined_along(
    affinities: Tensor, scores: NDArray[np.floating], threshold: float, offsets: Sequence[tuple[int, int]], rounds: int
) -> NDArray[np.float32]:
    """Let scores move along affinities.

    Each channel's score is first divided by the sum of the pixel's scores, the background's among them.

    Args:
        affinities: [P, H, W], at least 0; their sum over the neighbours is 1.
        scores: [K, H, W] of the classes.
        threshold: the background's score.
        offsets: of the P neighbours.
        rounds: number of times that each pixel takes the weighted mean of its neighbours.

    Returns:
        [1 + K, H, W] float32, sum 1.
    """
    state = torch.from_numpy(shares(scores_with_background(scores, threshold)))
    channels, height, width = state.shape
    rows = max(1, BLOCK // (channels * width))
    for _ in range(rounds):
        neighbours = list(each_neighbour(state, offsets))
        state = torch.zeros_like(state)
        for top in range(0, height, rows):
            block = state[:, top : top + rows]
            for weight, neighbour in zip(affinities, neighbours, strict=True):
                block.addcmul_(weight[top : top + rows], neighbour[:, top : top + rows])
    return shares(state.numpy())
