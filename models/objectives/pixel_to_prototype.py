"""Pixel-to-prototype contrast: on top of SEAM, each place must be nearer to its class's prototype than to all others.

Source  Du et al., CVPR 2022, arXiv:2110.07110, and the authors' code (usr922/wseg), on the losses of SEAM. Features are
        projected to 128 channels with ReLU. In each view a place's class is the highest of its refined CAMs of tags, stretched
        to [0, 1], and a background of 0.2; the prototype of a class is the mean of the features of the places with its highest
        CAMs over the whole batch, one eighth of an image's number of places, weighted by the CAM; neither gets a gradient.
        Losses, each 0.1 times cross-entropy of cosines divided by 0.1: places against the prototypes of the other view;
        against their own view's with the classes of the other view; and against their own view's with their own classes, a
        mean over classes.
        Deviations: the background's prototype is of the places where its map, 1 minus the highest, is largest (theirs takes
        places of a constant map); only classes that the batch shows have prototypes; the third loss learns from all places and
        prototypes (theirs draws half of the places and takes the hardest of the others, and leaves out the nearest
        prototypes).
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from models.backbones import Backbone
from models.objectives import seam
from models.objectives.seam import Seam, SeamClassifier, View, stretch

WIDTH = 128
"""Channels of the projection."""
TOP = 8
"""The best places of the batch that make a prototype are the places of an image divided by this."""
FAR = -1e4
"""The logit of a class that has no prototype."""


class Config(seam.Config):
    """Knobs of `pixel_to_prototype`: those of `seam`, and of the contrast."""

    background: float = Field(
        default=0.2, gt=0, lt=1, description="refined CAMs below this are background, relative to their maxima"
    )
    temperature: float = Field(default=0.1, gt=0, le=10, description="what cosines are divided by")
    weight: float = Field(default=0.1, ge=0, le=100, description="weight of each of the three contrasts")


class Places(NamedTuple):
    """The places of a batch: features [N, E] of length 1, their labels [N], and prototypes [1 + C, E] of length 1 or 0."""

    features: Tensor
    labels: Tensor
    prototypes: Tensor


class PixelClassifier(SeamClassifier):
    """SEAM's classifier with a projection of its features."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.project = nn.Conv2d(backbone.head_channels, WIDTH, 1, bias=False)
        nn.init.xavier_uniform_(self.project.weight)

    def projected_view(self, images: Tensor) -> tuple[View, Tensor]:
        """SEAM's view of images, and projected features [B, E, h, w] ≥ 0."""
        taps = self.backbone(images)
        features = self.backbone.head(taps.c5)
        return self.view_of(images, taps, features), self.project(features).float().relu()


class PixelToPrototype(Seam):
    """SEAM's losses and three contrasts."""

    network: PixelClassifier
    config: Config
    share_multiple = 0  # prototypes are of the whole batch

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> PixelClassifier:
        """SEAM's classifier with its projection."""
        return PixelClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """SEAM's terms, ``cross``, ``swapped`` and ``intra``."""
        target = batch["target"]
        (first, one), (second, other) = (self.network.projected_view(x) for x in self.two_sizes(batch["image"]))
        grid = second.evidence.shape[-2:]
        places = [
            places_of(_on_grid(maps, grid), _on_grid(view.refined.detach(), grid), target, self.config.background)
            for view, maps in ((first, one), (second, other))
        ]
        heat, weight = self.config.temperature, self.config.weight
        pairs = (places, places[::-1])
        cross = [contrast(a.features, a.labels, b.prototypes, heat).mean() for a, b in pairs]
        swapped = [contrast(a.features, b.labels, a.prototypes, heat).mean() for a, b in pairs]
        intra = [class_mean(contrast(a.features, a.labels, a.prototypes, heat), a.labels) for a in places]
        return {
            **self.terms(first, second, target),
            "cross": weight * torch.stack(cross).mean(),
            "swapped": weight * torch.stack(swapped).mean(),
            "intra": weight * torch.stack(intra).mean(),
        }


def _on_grid(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps on a coarser grid; first cell on first and last on last."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def places_of(projected: Tensor, refined: Tensor, target: Tensor, background: float) -> Places:
    """Features, labels and prototypes of a view.

    Args:
        projected: [B, E, h, w] float32.
        refined: [B, 1 + C, h, w] refined CAMs without gradient, the background first.
        target: [B, C] of 0 and 1.
        background: what the CAMs of tags compete with.
    """
    maps = stretch(refined[:, 1:]) * target[:, :, None, None]
    level = torch.full_like(maps[:, :1], background)
    labels = torch.cat([level, maps], dim=1).argmax(dim=1).flatten()
    features = projected.permute(0, 2, 3, 1).flatten(0, 2)
    weights = torch.cat([1 - maps.amax(dim=1, keepdim=True), maps], dim=1).transpose(0, 1).flatten(1)
    values, best = weights.topk(max(1, maps[0, 0].numel() // TOP), dim=1)
    prototypes = (features.detach()[best] * values[:, :, None]).sum(dim=1)
    return Places(F.normalize(features, dim=1), labels, F.normalize(prototypes, dim=1))


def contrast(features: Tensor, labels: Tensor, prototypes: Tensor, temperature: float) -> Tensor:
    """Cross-entropy [N] of the cosines of features [N, E] and prototypes [S, E] against labels [N].

    A prototype of 0 takes no part; a place whose label has none costs nothing.
    """
    known = prototypes.any(dim=1)
    logits = torch.where(known, features @ prototypes.T / temperature, FAR)
    return F.cross_entropy(logits, labels, reduction="none") * known[labels]


def class_mean(losses: Tensor, labels: Tensor) -> Tensor:
    """Mean over the classes that occur of the mean of losses [N] of places of that class; a scalar."""
    counts = torch.bincount(labels)
    means = torch.zeros_like(counts, dtype=losses.dtype).index_add(0, labels, losses) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum()
