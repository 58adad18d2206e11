"""CIAN: of two images that share a tag, each completes its features from those of the other.

Source  Fan et al., AAAI 2020, arXiv:1811.10842, and the authors' code (js-fan/CIAN). Queries, keys and values have half
        the features' channels, keys and values half the grid. The message to a position is the sum of the partner's
        values, weighted by the softmax of dot products; the element-wise maximum of the messages from the partner and
        from the image itself passes a projection that starts at zero and is added to the features. One classifier reads
        the features without and with the partner, under losses of equal weight. A partner is the next image, in a random
        order, that shares a tag. At inference an image is its own partner, so the module is part of the network to be
        kept.
        Deviations: the authors train a segmenter on seeds with background, here a classifier is trained on tags. So the
        completion loss, cross-entropy against the likeliest class at a position with the partner, becomes the L1
        distance of the tags' CAMs, each divided by its maximum, to those with the partner, which get no gradient. No
        batch norm behind the projection; half the grid is pooled in windows that mirror.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._pairs import paired_batches, partners

EPSILON = 1e-5


class Config(MethodConfig):
    """Knobs of `cian`."""

    width: float = Field(
        default=0.5, gt=0, le=1, description="channels of queries, keys and values, as a share of the features'"
    )
    cross_weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tags' loss with the partner")
    completion_weight: float = Field(
        default=1.0, ge=0, le=100, description="weight of the distance between maps without and with it"
    )


class CrossImageAffinity(nn.Module):
    """Messages to each position of an image from the positions of another image, or of itself.

    Args:
        channels: D of the features.
        hidden: E of queries, keys and values.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Conv2d(channels, hidden, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(hidden, channels, 1, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor, partner: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Messages [B, D, h, w] from each image itself, and from it and its partner.

        Args:
            features: [B, D, h, w].
            partner: [B] int64, the index of each image's partner; None: itself.
        """
        size = features.shape[-2:]
        query = self.query(features).flatten(2)
        key, value = (_half(layer(features)).flatten(2) for layer in (self.key, self.value))
        own = _attend(query, key, value)
        alone: Tensor = self.out(own.reshape(len(own), -1, *size))
        if partner is None:
            return alone, alone
        joined = torch.maximum(own, _attend(query, key[partner], value[partner]))
        return alone, self.out(joined.reshape(len(own), -1, *size))


def _half(maps: Tensor) -> Tensor:
    """Maxima [B, E, ceil(h / 2), ceil(w / 2)] of maps [B, E, h, w]; a mirrored map gives the mirrored maxima."""
    height, width = maps.shape[-2:]
    return F.adaptive_max_pool2d(maps, (-(-height // 2), -(-width // 2)))


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[B, E, N]: for each query [B, E, N], values [B, E, M] weighted by the softmax of dot products with keys [B, E, M]."""
    weights = (key.transpose(1, 2) @ query).float().softmax(dim=1)
    return value @ weights.to(value.dtype)


class CrossImageClassifier(Classifier):
    """A classifier with the affinity module behind its features; without a partner, an image is its own.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        width: channels of the module, as a share of the features'.
    """

    def __init__(self, backbone: Backbone, n_classes: int, width: float) -> None:
        super().__init__(backbone, n_classes)
        self.affinity = CrossImageAffinity(backbone.head_channels, max(1, round(backbone.head_channels * width)))

    def activation(self, images: Tensor) -> Tensor:
        """Features [B, D, h, w] of images [B, 3, H, W], RGB in [0, 255], each its own partner."""
        return self.pair_activation(images, None)[0]

    def pair_activation(self, images: Tensor, partner: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features [B, D, h, w] without and with the partner; `partner` [B] int64."""
        features = self.backbone.head(self.backbone(images).c5)
        alone, joined = (features + message for message in self.affinity(features, partner))
        self.note(alone)
        return alone, joined


class Cian(Objective):
    """Tag losses of each image alone and with its partner, and a loss that completes its maps to those with the partner."""

    share_multiple = 2  # pairs stay whole
    network: CrossImageClassifier

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.tags_of_images = targets.numpy() > 0

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> CrossImageClassifier:
        """A classifier with the affinity module, which inference needs too."""
        return CrossImageClassifier(backbone, n_classes, config.width)

    def groups(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """Batches of pairs that share a tag; each image in one at most."""
        return paired_batches(self.tags_of_images, size, rng)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` (each image alone), ``cross`` (with its partner) and ``completion``."""
        target = batch["target"]
        alone, joined = self.network.pair_activation(batch["image"], partners(target))
        maps, complete = (self.network.evidence(features).float() for features in (alone, joined))
        return {
            "tags": multilabel_soft_margin(self.network.logits(alone), target),
            "cross": self.config.cross_weight * multilabel_soft_margin(self.network.logits(joined), target),
            "completion": self.config.completion_weight * completion(maps, complete.detach(), target),
        }


def completion(evidence: Tensor, complete: Tensor, target: Tensor) -> Tensor:
    """Mean L1 distance of the CAMs of evidence to those of `complete`, both [B, C, h, w], each divided by its maximum.

    Over the tags of the joint batch and all positions; 0 where no image has a tag.
    """
    first, second = (
        maps.relu() / (maps.relu().amax(dim=(2, 3), keepdim=True) + EPSILON) for maps in (evidence, complete)
    )
    distances = (first - second).abs().mean(dim=(2, 3)) * target
    return distances.sum() / joint_mean(target.sum()).clamp(min=EPSILON)
