"""CIAN: of two images that share a tag, each takes from the other what its own places lack.

Source  Fan et al., AAAI 2020, arXiv:1811.10842, and the authors' code (js-fan/CIAN). Queries, keys and values have half
        the features' channels, keys and values half the grid. A place's message is the sum of the partner's values,
        weighted by the softmax of dot products; of the messages from the partner and from the image itself the larger
        counts, channel by channel. It goes through a projection that starts at zero and is added to the features. One
        classifier reads the features without and with the partner's help, under losses of equal weight. A partner is
        the next image, in a random order, that shares a tag. At inference an image is its own partner: so the network
        that is kept has the module.
        Deviations: theirs is a segmenter under seeds that know the background, ours a classifier under tags. So their
        completion loss, cross-entropy against the class that is likeliest at a place with the partner's help, becomes
        the L1 distance of the tags' CAMs, each divided by its maximum, to those with that help, which get no gradient.
        No batch norm behind the projection; half the grid is pooled in windows that mirror.
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
    cross_weight: float = Field(default=1.0, ge=0, le=100, description="of the tags' loss with the partner's help")
    completion_weight: float = Field(
        default=1.0, ge=0, le=100, description="of the distance between maps without and with it"
    )


class CrossImageAffinity(nn.Module):
    """What each place of an image takes from the places of an image.

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
        """Messages [B, D, h, w] of each image to itself, and those that its partner's join.

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
    """Values [B, E, M] at the places of queries [B, E, N], weighted by the softmax of dot products with keys [B, E, M]."""
    weights = (key.transpose(1, 2) @ query).float().softmax(dim=1)
    return value @ weights.to(value.dtype)


class CrossImageClassifier(Classifier):
    """A classifier whose features have passed the affinity module; alone, an image is its own partner.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        width: channels of the module, as a share of the features'.
    """

    def __init__(self, backbone: Backbone, n_classes: int, width: float) -> None:
        super().__init__(backbone, n_classes)
        self.affinity = CrossImageAffinity(backbone.head_channels, max(1, round(backbone.head_channels * width)))

    def activation(self, images: Tensor) -> Tensor:
        """Features [B, D, h, w] of images [B, 3, H, W], RGB in [0, 255], each for itself."""
        return self.pair_activation(images, None)[0]

    def pair_activation(self, images: Tensor, partner: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features [B, D, h, w] without and with the partner's help; `partner` [B] int64."""
        features = self.backbone.head(self.backbone(images).c5)
        alone, joined = (features + message for message in self.affinity(features, partner))
        self.note(alone)
        return alone, joined


class Cian(Objective):
    """Tags of each image alone and with its partner's help, and maps that become as complete as with that help."""

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

    Over the tags of the joint batch and all places; 0 where no image has a tag.
    """
    first, second = (
        maps.relu() / (maps.relu().amax(dim=(2, 3), keepdim=True) + EPSILON) for maps in (evidence, complete)
    )
    distances = (first - second).abs().mean(dim=(2, 3)) * target
    return distances.sum() / joint_mean(target.sum()).clamp(min=EPSILON)
