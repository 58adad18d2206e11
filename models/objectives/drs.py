"""DRS: no place of a feature map may rise above a share of the map's maximum, so that peaks do not win and other places count.

Source  Kim et al., AAAI 2021, arXiv:2103.07246, and the authors' code (qjadud1994/DRS): of each channel x, min(x, control ·
        max x). Control is σ of a linear layer of the channels' means (learnable, as their script runs it), or a number δ; 0.55
        is their best.
        Deviations: they suppress after every ReLU of VGG-16, here the features that the classifier reads are suppressed; the
        refinement network that they train on the maps is left out, since here AffinityNet follows. Suppression stays at
        inference, as theirs does: the CAMs come from suppressed features.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective


class Config(MethodConfig):
    """Knobs of `drs`."""

    control: Literal["learnt", "fixed"] = Field(
        default="learnt", description="where the share of the maximum comes from"
    )
    share: float = Field(default=0.55, gt=0, le=1, description="of a channel's maximum, where it is fixed")


class Suppression(nn.Module):
    """Clips each channel of each image at a share of its maximum.

    Args:
        channels: D.
        share: the fixed share; None: learnt, one half at the start.
    """

    def __init__(self, channels: int, share: float | None) -> None:
        super().__init__()
        self.share = share
        if share is None:
            self.controller = nn.Linear(channels, channels, bias=False)
            nn.init.normal_(self.controller.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """[B, D, h, w] ≥ 0 of features [B, D, h, w]."""
        positive = features.relu()
        limit = positive.amax(dim=(2, 3), keepdim=True)
        if self.share is not None:
            return torch.minimum(positive, limit * self.share)
        control = self.controller(positive.mean(dim=(2, 3))).sigmoid()
        return torch.minimum(positive, limit * control[:, :, None, None].to(limit.dtype))


class SuppressedClassifier(Classifier):
    """A classifier that reads suppressed features.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        share: as for `Suppression`.
    """

    def __init__(self, backbone: Backbone, n_classes: int, share: float | None) -> None:
        super().__init__(backbone, n_classes)
        self.suppression = Suppression(backbone.head_channels, share)

    def activation(self, images: Tensor) -> Tensor:
        """Suppressed features [B, D, h, w] ≥ 0 of images [B, 3, H, W], RGB in [0, 255]."""
        features: Tensor = self.suppression(self.backbone.head(self.backbone(images).c5))
        self.note(features)
        return features


class Drs(Objective):
    """The tag loss of a classifier with suppressed features."""

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> SuppressedClassifier:
        """The classifier with its suppression."""
        return SuppressedClassifier(backbone, n_classes, config.share if config.control == "fixed" else None)

    def forward(self, batch: Batch) -> Terms:
        """The multi-label soft margin loss."""
        return {"tags": multilabel_soft_margin(self.network(batch["image"]), batch["target"])}
