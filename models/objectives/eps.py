"""EPS: class maps and a background map together explain where a prior says that something stands out.

Source  Lee et al., CVPR 2021, "Railroad is not a Train: Saliency as Pseudo-pixel Supervision", arXiv:2105.08965, and the
        authors' code (halbielee/EPS): soft-max over C + 1 maps; the map of a tag counts as foreground where more than τ of
        the places that it wins are salient (each rounded to 0 or 1), else as background with the background's own map; the
        estimate is λ · foreground + (1 − λ) · (1 − background), and its mean squared error to the saliency map is added to
        the tags' loss. τ 0.4 as in their scripts, λ 0.5 on VOC 2012 (0.9 on COCO). A map that wins no place counts as
        background, as theirs does. Deviations: the saliency map is any prior of data/priors, sampled bilinearly at the
        cells of the network's grid (theirs: nearest, on a grid of another phase); the background's weights are a layer of
        their own, so that those of the classes stay a plain classifier's.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.grids import sample_at_cells
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective

TINY = 1e-4
"""Of a count of places, as the authors' code adds it."""


class Config(MethodConfig):
    """Knobs of `eps`."""

    overlap: float = Field(
        default=0.4, ge=0, lt=1, description="τ: a tag's map is foreground if more than this share of it is salient"
    )
    foreground: float = Field(
        default=0.5, ge=0, le=1, description="λ: weight of the foreground's maps in the estimated saliency"
    )
    weight: float = Field(default=1.0, ge=0, le=1000, description="of the saliency loss beside that of the tags")


class ClassifierWithBackground(Classifier):
    """A classifier with one map more, the background's, that has no tag.

    Attributes:
        background: the background's evidence at every position, a linear layer [1, D, 1, 1].
    """

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.background = nn.Conv2d(backbone.head_channels, 1, 1, bias=False)
        nn.init.normal_(self.background.weight, std=0.01)

    def shares(self, features: Tensor) -> Tensor:
        """Soft-max over the classes and, last, the background: [B, C + 1, h, w] float32 of features [B, D, h, w]."""
        evidence = torch.cat([self.evidence(features), self.background(features)], dim=1)
        return evidence.float().softmax(dim=1)

    def maps(self, images: Tensor) -> Tensor:
        """The classes' shares of each position, [B, C, h, w] float32 in [0, 1]."""
        return self.shares(self.activation(images))[:, :-1]


class Eps(Objective):
    """Tags, and a saliency map that the maps of tags and background have to explain. Reads data/priors."""

    network: ClassifierWithBackground
    reads = ("priors",)

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> ClassifierWithBackground:
        """A classifier with a map for the background."""
        return ClassifierWithBackground(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``saliency``. The batch has the prior's map as ``priors`` [B, H, W] in [0, 1]."""
        images, target = batch["image"], batch["target"]
        features = self.network.activation(images)
        shares = self.network.shares(features)
        saliency = sample_at_cells(
            batch["priors"][:, None],
            stride=self.network.backbone.output_stride,
            image_size=(images.shape[2], images.shape[3]),
            cells=(shares.shape[2], shares.shape[3]),
        )[:, 0]
        estimate = estimated_saliency(
            shares, saliency, target, overlap=self.config.overlap, foreground=self.config.foreground
        )
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "saliency": self.config.weight * F.mse_loss(estimate, saliency),
        }


def estimated_saliency(
    shares: Tensor, saliency: Tensor, target: Tensor, *, overlap: float, foreground: float
) -> Tensor:
    """What class maps and background map say about where something stands out.

    Args:
        shares: [B, C + 1, h, w] float32, soft-max over the classes and the background, which is last.
        saliency: [B, h, w] float32 in [0, 1]; it only decides which maps are foreground.
        target: [B, C] of 0 and 1; the maps of other classes than the tags count neither way.
        overlap: share of a map's places that must be salient, more than this, for it to be foreground.
        foreground: weight of the foreground's maps; the background's have 1 minus that.

    Returns:
        [B, h, w] float32 in [0, 1].
    """
    classes, background = shares[:, :-1], shares[:, -1]
    won = classes.detach().round()
    salient = (won * saliency.round()[:, None]).sum(dim=(2, 3)) / (won.sum(dim=(2, 3)) + TINY)
    tagged = target > 0.5
    chosen = (tagged & (salient > overlap)).to(shares.dtype)
    rest = tagged.to(shares.dtype) - chosen
    front = (chosen[:, :, None, None] * classes).sum(dim=1)
    behind = background + (rest[:, :, None, None] * classes).sum(dim=1)
    return foreground * front + (1 - foreground) * (1 - behind)
