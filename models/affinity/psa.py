"""AffinityNet: features from three depths of a backbone that are similar in cells of one object."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.errors import ShapeError
from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.affinity._network import AffinityNetwork
from models.affinity._pairs import each_pair_affinity, pair_affinities, pair_offsets
from models.backbones import Backbone
from models.losses.affinity import affinity_loss
from models.propagation._transition import SparseTransition

__all__ = ["AffinityNet", "pair_affinities", "pair_offsets", "transition_of"]


GROUPS = 4
STRIDE = 8
"""Of the grid on which affinities are learnt."""
Depth = Annotated[int, Field(ge=GROUPS, le=1024, multiple_of=GROUPS)]


class Config(MethodConfig):
    """Knobs of `psa`."""

    radius: int = Field(default=5, ge=2, le=16, description="pairs nearer than this many cells are learnt")
    depths: tuple[Depth, Depth, Depth] = Field(default=(64, 128, 256), description="channels from each of three depths")
    width: int = Field(default=448, ge=8, le=1024, description="channels in which cells are compared")


def build(
    backbone: Backbone, *, learn_backbone: bool, radius: int, depths: tuple[int, int, int], width: int
) -> AffinityNetwork:
    """AffinityNet over a backbone, with a fresh head."""
    _, c3, c4, c5 = backbone.channels
    return AffinityNetwork(
        backbone, AffinityNet((c3, c4, c5), depths=depths, width=width), learn_backbone=learn_backbone
    )


def loss(network: nn.Module, batch: Batch, *, radius: int, depths: tuple[int, int, int], width: int) -> Terms:
    """The balanced loss over pairs of cells, of images [B, 3, H, W] and labels `mask` [B, H, W], 255 void."""
    offsets = pair_offsets(radius)
    features = network(batch["image"])
    cells = batch["mask"][:, ::STRIDE, ::STRIDE]
    return {"affinity": affinity_loss(pair_affinities(features, offsets), cells, offsets)}


def transition(features: Tensor, *, stride: int, radius: int, beta: float) -> SparseTransition:
    """One step of the walk over an image's features [1, C, h, w] at stride 8, on a grid of stride 8 or, finer, 4."""
    on_grid = finer(features) if stride < STRIDE else features
    return transition_of(on_grid[0], radius=radius, beta=beta)


def finer(features: Tensor) -> Tensor:
    """Features [B, C, h, w] on a grid twice as fine, [B, C, 2 h − 1, 2 w − 1]: every second cell is one of the old."""
    height, width = features.shape[-2:]
    return F.interpolate(features, size=(2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=True)


class AffinityNet(nn.Module):
    """The affinity head: project three depths, join them, mix them.

    Args:
        backbone_channels: channel counts of the backbone's outputs c3, c4, c5.
        depths: channels each of them is projected to; PSA takes (64, 128, 256).
        width: channels of the result; PSA takes their sum, 448.

    Raises:
        ShapeError: a depth is not a multiple of 4.

    Source: Ahn & Kwak, CVPR 2018, arXiv:1803.10464; layers as in the authors' code. Deviations: group norm (4 groups, as
    in IRN's code) and ReLU after each projection, since backbones differ in the scale of their features; the last layer
    starts at a gain of 0.5 instead of 4, since features that begin far apart stay rough (docs/experiments.md).
    """

    def __init__(self, backbone_channels: tuple[int, int, int], *, depths: tuple[int, int, int], width: int) -> None:
        super().__init__()
        if any(depth % GROUPS for depth in depths):
            raise ShapeError(f"depths {depths} must be multiples of {GROUPS}")
        layers = [nn.Conv2d(c, d, kernel_size=1, bias=False) for c, d in zip(backbone_channels, depths, strict=True)]
        self.project = nn.ModuleList(layers)
        self.norm = nn.ModuleList(nn.GroupNorm(GROUPS, depth) for depth in depths)
        self.mix = nn.Conv2d(sum(depths), width, kernel_size=1, bias=False)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        nn.init.xavier_uniform_(self.mix.weight, gain=0.5)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> Tensor:
        """Compute the features whose differences give affinities.

        Args:
            c3: [B, C3, h, w]; its grid, at stride 8, is that of the result.
            c4: [B, C4, h4, w4], resized to it.
            c5: [B, C5, h5, w5], resized to it.

        Returns:
            [B, width, h, w].
        """
        grid = c3.shape[-2:]
        inputs = zip(self.project, self.norm, (c3, c4, c5), strict=True)
        depths = [F.relu(norm(layer(x))) for layer, norm, x in inputs]
        resized = [
            F.interpolate(x, size=grid, mode="bilinear", align_corners=True) if x.shape[-2:] != grid else x
            for x in depths
        ]
        return F.elu(self.mix(torch.cat(resized, dim=1)))


def transition_of(features: Tensor, *, radius: int, beta: float) -> SparseTransition:
    """Build one step of the random walk from an image's features, one plane of affinities at a time.

    Args:
        features: [C, h, w] of one image.
        radius: pairs nearer than this many cells are joined; PSA takes 5.
        beta: element-wise power on the affinities; PSA takes 8.

    Returns:
        The transition over the h × w grid.

    Raises:
        ShapeError: not a [C, h, w] array.
    """
    if features.ndim != 3:
        raise ShapeError(f"features must be [C, h, w], got {list(features.shape)}")
    offsets: Sequence[tuple[int, int]] = pair_offsets(radius)
    return SparseTransition(each_pair_affinity(features, offsets), offsets, beta=beta)
