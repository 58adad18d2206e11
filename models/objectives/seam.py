"""SEAM: the CAM of a small view of the image must be the small CAM of the image; so CAMs spread over whole objects.

Source  Wang et al., CVPR 2020, arXiv:2004.04581, and the authors' code: two views, the tag loss on both, ER between their
        CAMs, ECR between the CAM of one and the refined CAM of the other, and a loss on the lowest quarter of the refined
        CAM. The pixel correlation module (PCM) refines a CAM: each place takes the mean of all places, weighted by the
        positive part of the cosine of an embedding of image and middle features; the CAM and the features reach it without
        gradient. As with the authors, all differences are of maps that are stretched to [0, 1] and 0 for what is not tagged,
        and ECR's share counts the channels of all classes and the background.
        As there, the terms are added with weight 1; none is a knob.
        Deviations: the features are those of our backbones at strides 8 and 16 in place of ResNet-38's conv4 and conv5; no
        dropout before the head; both views have sides of k × stride + 1, and maps are compared on the network's grid of the
        small view, cell on cell, not at the image's size; the untrained CAM of the background is left out.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone, Features
from models.classifier import Classifier
from models.grids import aligned_size, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._pixel_correlation import EPSILON, correlate, seeds_of, with_background

C3_WIDTH, C4_WIDTH, EMBEDDING_WIDTH = 64, 128, 192
"""Channels of the module's 1×1 convolutions, as in the paper's code."""


class Config(MethodConfig):
    """Knobs of `seam`."""

    scale: float = Field(default=0.3, gt=0, lt=1, description="of the small view")
    hardest: float = Field(default=0.2, gt=0, le=1, description="share of the largest differences that ECR learns from")
    lowest: float = Field(
        default=0.25, gt=0, le=1, description="share of the places that are taken to show no tagged object"
    )


class View(NamedTuple):
    """What the network says of a view: logits [B, C]; evidence [B, C, h, w] and refined [B, 1 + C, h, w], float32."""

    logits: Tensor
    evidence: Tensor
    refined: Tensor


class SeamClassifier(Classifier):
    """A classifier with a pixel correlation module, whose own maps are the refined CAMs."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        _, c3, c4, _ = backbone.channels
        self.embed_c3 = nn.Conv2d(c3, C3_WIDTH, 1, bias=False)
        self.embed_c4 = nn.Conv2d(c4, C4_WIDTH, 1, bias=False)
        self.embed = nn.Conv2d(3 + C3_WIDTH + C4_WIDTH, EMBEDDING_WIDTH, 1, bias=False)
        nn.init.kaiming_normal_(self.embed_c3.weight)
        nn.init.kaiming_normal_(self.embed_c4.weight)
        nn.init.xavier_uniform_(self.embed.weight, gain=4)

    def view(self, images: Tensor) -> View:
        """Logits, CAMs before ReLU, and refined CAMs of images [B, 3, H, W] in [0, 255]."""
        taps = self.backbone(images)
        return self.view_of(images, taps, self.backbone.head(taps.c5))

    def view_of(self, images: Tensor, taps: Features, features: Tensor) -> View:
        """The same of images whose features are known: those of the backbone, and its head's [B, D, h, w]."""
        self.note(features)
        evidence = self.evidence(features).float()
        embedding = self._embedding(images, taps.c3.detach(), taps.c4.detach(), evidence.shape[-2:])
        with torch.autocast(images.device.type, enabled=False):
            refined = correlate(seeds_of(evidence.detach()), embedding.float())
        return View(self.logits(features), evidence, refined)

    def maps(self, images: Tensor) -> Tensor:
        """The refined CAMs [B, C, h, w] float32 in [0, 1]."""
        return self.view(images).refined[:, 1:]

    def _embedding(self, images: Tensor, c3: Tensor, c4: Tensor, size: torch.Size) -> Tensor:
        """[B, 192, h, w] of the images and the middle features."""
        pixels = (images - self.backbone.mean) / self.backbone.std
        parts = (pixels, self.embed_c3(c3).relu(), self.embed_c4(c4).relu())
        embedding: Tensor = self.embed(torch.cat([_on_grid(part.float(), size) for part in parts], dim=1))
        return embedding


class Seam(Objective):
    """The four losses on an image and its small view."""

    network: SeamClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Config) -> SeamClassifier:
        """The classifier with its pixel correlation module."""
        return SeamClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """``tags``, ``min_pool``, ``er`` and ``ecr``."""
        first, second = (self.network.view(images) for images in self.two_sizes(batch["image"]))
        return self.terms(first, second, batch["target"])

    def two_sizes(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images and their small view, both of a size that lies straight on the grid."""
        stride = self.network.backbone.output_stride
        whole = resize_images(images, aligned_size(*images.shape[-2:], stride=stride))
        return whole, _on_grid(whole, aligned_size(*whole.shape[-2:], stride=stride, scale=self.config.scale))

    def terms(self, first: View, second: View, target: Tensor) -> dict[str, Tensor]:
        """The losses of two views of images with tags target [B, C]."""
        grid, tagged = second.evidence.shape[-2:], target[:, :, None, None]
        cams = [_on_grid(stretch(view.evidence), grid) * tagged for view in (first, second)]
        shown = F.pad(tagged, (0, 0, 0, 0, 1, 0), value=1.0)  # with the background, which every image shows
        refined = [_on_grid(stretch(view.refined), grid) * shown for view in (first, second)]
        losses = [multilabel_soft_margin(view.logits, target) for view in (first, second)]
        dark = [lowest_mean(view.refined[:, 1:] * tagged, self.config.lowest) for view in (first, second)]
        ecr = [
            hardest_mean((with_background(cam.detach()) - other).abs(), self.config.hardest)
            for cam, other in zip(cams, reversed(refined), strict=True)
        ]
        return {
            "tags": (losses[0] + losses[1]) / 2,
            "min_pool": (dark[0] + dark[1]) / 2,
            "er": (cams[0] - cams[1]).abs().mean(),
            "ecr": ecr[0] + ecr[1],
        }


def _on_grid(maps: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """Maps or images on another grid; first cell on first and last on last, as on sides of k × stride + 1."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def stretch(maps: Tensor) -> Tensor:
    """Stretch the positive part of each map of [B, C, h, w] to [0, 1]; a flat map becomes 0."""
    positive = maps.relu()
    least, most = positive.amin(dim=(2, 3), keepdim=True), positive.amax(dim=(2, 3), keepdim=True)
    return (positive - least - EPSILON).relu() / (most - least + EPSILON)


def hardest_mean(differences: Tensor, share: float) -> Tensor:
    """Mean over images of the mean of the largest differences [B, S, h, w] of each; a scalar."""
    flat = differences.flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1).values.mean()


def lowest_mean(maps: Tensor, share: float) -> Tensor:
    """Mean over images of the lowest share of places, each with the highest of its maps [B, C, h, w] ≥ 0; a scalar."""
    flat = maps.amax(dim=1).flatten(1)
    return flat.topk(max(1, int(share * flat.shape[1])), dim=1, largest=False).values.mean()
