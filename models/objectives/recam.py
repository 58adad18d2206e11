"""ReCAM: each tag's features, pooled where its CAM lies, must be told from all other classes by a soft-max.

Source  Chen et al., CVPR 2022, arXiv:2203.00962, and the authors' code (zhaozhengChen/ReCAM): features are pooled with the CAM
        of a tag, divided by its maximum, as weights (a mean over all places); a second linear layer classifies the result
        under cross-entropy of the single class, a mean over an image's tags, summed over images and divided by their number,
        weight 1. The map is that of the product of both layers' weights. They train so for 4 epochs after the ordinary
        training.
        Deviations: one training whose first epochs, a share of them, learn from the tags alone; the second layer has as large
        a learning rate as the first.
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
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._maps import relative
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `recam`."""

    start: float = Field(default=0.5, ge=0, lt=1, description="share of the epochs before the second layer learns")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the soft-max cross-entropy")


class ReactivatedClassifier(Classifier):
    """A classifier with a second layer, whose own maps are those of both layers' product."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.single = nn.Conv2d(backbone.head_channels, n_classes, 1, bias=False)

    def maps(self, images: Tensor) -> Tensor:
        """[B, C, h, w] float32, ≥ 0: the weights of a class are those of both layers, multiplied one by one."""
        features = self.activation(images)
        with torch.autocast(images.device.type, enabled=False):
            return F.conv2d(features.float(), (self.single.weight * self.classifier.weight).float()).relu()


class Recam(ScheduledObjective):
    """The tag loss, and in later epochs the cross-entropy of each tag by itself."""

    network: ReactivatedClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> ReactivatedClassifier:
        """The classifier with its second layer."""
        return ReactivatedClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``single``, which is 0 in the first epochs."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        tags = multilabel_soft_margin(self.network.logits(features), target)
        if not self.started(self.config.start):
            return {"tags": tags, "single": torch.zeros_like(tags)}
        pooled = pool_by_class(features, relative(self.network.evidence(features)))
        logits = self.network.single(pooled.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        return {"tags": tags, "single": self.config.weight * single_class_loss(logits.float(), target)}


def pool_by_class(features: Tensor, maps: Tensor) -> Tensor:
    """[B, C, D]: for each class the mean over places of features [B, D, h, w] times the class's map [B, C, h, w]."""
    places = features.shape[-2] * features.shape[-1]
    return torch.einsum("bdhw,bchw->bcd", features, maps.to(features.dtype)) / places


def single_class_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over images of the mean over an image's tags of the cross-entropy of that tag; 0 for an image without tags.

    Args:
        logits: [B, C, C]; row c holds those of the features pooled for class c.
        target: [B, C] of 0 and 1.
    """
    losses = -logits.log_softmax(dim=2).diagonal(dim1=1, dim2=2) * target
    return (losses.sum(dim=1) / target.sum(dim=1).clamp(min=1)).mean()
