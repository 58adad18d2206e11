"""SIPE: each place is compared with prototypes of the classes and the background of its own image; the CAM must agree.

Source  Chen et al., CVPR 2022, arXiv:2203.02909, and the authors' code (chenqi1126/SIPE). Seeds: a place belongs to the class
        whose CAM overlaps best, as an IoU, with the map of the positive cosines of its features to those of all places; the
        background's overlap counts half. Prototypes: means over an image's seeds of a hierarchy of features, four depths that
        are each projected and normalised. The image-specific CAM is the positive cosine of a place's hierarchy and a
        prototype, divided by its maximum; the mean L1 distance of CAM and image-specific CAM, of tags and background, is added
        to the tag loss. Widths of the projections 128, 128, 256, 256 as theirs; the hierarchy's inputs get no gradient.
        Deviations: the hierarchy lies on the grid of the classifier's features; at inference, where the tags are not known,
        the classes that the network names compete for the seeds.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._maps import EPSILON, relative

WIDTHS = (128, 128, 256, 256)
"""Channels of the projections of c2, c3, c4 and the classifier's features, as in the authors' code."""
BACKGROUND = 0.5
"""What the background's overlap counts, as in the authors' code."""


PLACES = 1024
"""Places that are compared at once: memory grows with the grid, not with its square."""


class Config(MethodConfig):
    """Knobs of `sipe`."""

    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the distance between both maps")


class Comparison(NamedTuple):
    """Logits [B, C]; the CAM with its background and the image-specific one, both [B, 1 + C, h, w] float32 in [0, 1], 0 for
    classes that are not shown; and the CAMs of all classes [B, C, h, w].
    """

    logits: Tensor
    cam: Tensor
    specific: Tensor
    every: Tensor


class PrototypeClassifier(Classifier):
    """A classifier with a hierarchy of features, whose own maps are the image-specific CAMs."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        channels = (*backbone.channels[:3], backbone.head_channels)
        sides = [nn.Conv2d(depth, width, 1, bias=False) for depth, width in zip(channels, WIDTHS, strict=True)]
        self.sides = nn.ModuleList(sides)

    def compare(self, images: Tensor, classes: Tensor | None) -> Comparison:
        """Both maps of images [B, 3, H, W]; `classes` [B, C] of 0 and 1 may have seeds, None: those that the network names."""
        taps = self.backbone(images)
        features = self.backbone.head(taps.c5)
        self.note(features)
        logits = self.logits(features)
        shown = ((logits > 0) | (logits == logits.amax(dim=1, keepdim=True))).float() if classes is None else classes
        every = relative(self.evidence(features))
        maps = every * shown[:, :, None, None]
        cam = torch.cat([1 - maps.amax(dim=1, keepdim=True), maps], dim=1)
        hierarchy = self._hierarchy((taps.c2, taps.c3, taps.c4, features))
        with torch.autocast(images.device.type, enabled=False):
            seeds = seeds_of(cam.detach(), features.detach().float(), F.pad(shown, (1, 0), value=1.0))
            specific = relative(similarity(seeds, hierarchy))
        return Comparison(logits, cam, specific, every)

    def maps(self, images: Tensor) -> Tensor:
        """The image-specific CAMs [B, C, h, w] float32 in [0, 1]; of a class without seeds its CAM."""
        found = self.compare(images, None)
        specific = found.specific[:, 1:]
        return torch.where(specific.amax(dim=(2, 3), keepdim=True) > 0, specific, found.every)

    def _hierarchy(self, depths: tuple[Tensor, ...]) -> Tensor:
        """[B, 768, h, w] float32 of features of four depths, on the grid of the last."""
        size = depths[-1].shape[-2:]
        parts = [side(depth.detach()).float() for side, depth in zip(self.sides, depths, strict=True)]
        parts = [part / (part.norm(dim=1, keepdim=True) + EPSILON) for part in parts]
        return torch.cat([F.interpolate(part, size, mode="bilinear", align_corners=True) for part in parts], dim=1)


class Sipe(Objective):
    """The tag loss, and the distance of the CAM to the image-specific one."""

    network: PrototypeClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> PrototypeClassifier:
        """The classifier with its hierarchy."""
        return PrototypeClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``specific``."""
        found = self.network.compare(batch["image"], batch["target"])
        return {
            "tags": multilabel_soft_margin(found.logits, batch["target"]),
            "specific": self.config.weight * (found.cam - found.specific).abs().mean(),
        }


def seeds_of(cam: Tensor, features: Tensor, shown: Tensor) -> Tensor:
    """The class of each place by structure: [B, 1 + C, h, w] of 0 and 1, at most one a place.

    Args:
        cam: [B, 1 + C, h, w] in [0, 1], the background first.
        features: [B, D, h, w].
        shown: [B, 1 + C] of 0 and 1: a place of another class is no seed.
    """
    places = features.flatten(2)
    places = places / (places.norm(dim=1, keepdim=True) + EPSILON)
    maps, parts = cam.flatten(2), []
    for part in places.split(PLACES, dim=2):
        alike = (places.transpose(1, 2) @ part).relu()  # [B, N, places of the part]
        inside = maps @ alike
        union = alike.sum(dim=1, keepdim=True) + maps.sum(dim=2, keepdim=True) - inside
        parts.append(inside / (union + EPSILON))
    overlap = torch.cat(parts, dim=2)
    overlap = torch.cat([overlap[:, :1] * BACKGROUND, overlap[:, 1:]], dim=1)
    seeds = torch.zeros_like(overlap).scatter_(1, overlap.argmax(dim=1, keepdim=True), 1.0)
    return (seeds * shown[:, :, None]).view_as(cam)


def similarity(seeds: Tensor, hierarchy: Tensor) -> Tensor:
    """Positive cosine [B, S, h, w] of hierarchy [B, E, h, w] and the mean of it over each map of seeds [B, S, h, w]."""
    prototypes = torch.einsum("bshw,behw->bse", seeds, hierarchy) / hierarchy[0, 0].numel()
    prototypes = prototypes / (prototypes.norm(dim=2, keepdim=True) + EPSILON)
    places = hierarchy / (hierarchy.norm(dim=1, keepdim=True) + EPSILON)
    return torch.einsum("bse,behw->bshw", prototypes, places).relu()
