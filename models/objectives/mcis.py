"""MCIS: by co-attention with an image that shares a tag, what both show is told from what one of them shows alone.

Source  Sun et al., ECCV 2020, arXiv:2007.01947, and the authors' code (GuoleiSun/MCIS_wsss). Co-attention: the scores of
        places of two images are fᵀ W f'; for each place of an image, the other's features are summed with the soft-max of its
        scores as weights. These co-features are classified into the tags that both images have. Contrastive co-attention: a
        gate, σ of a linear layer of the co-features, marks what is common; the features times one minus the gate are
        classified by the same layer into the tags that the image has alone, from the third epoch on, where there are any. All
        losses have weight 1. At inference an image is alone.
        Deviations: both branches learn from the ordinary classifier's features, without the three convolutions that they add
        to VGG-16; the gate is learnt by the contrast alone, as theirs; three more passes with mixed copies of the first image,
        and the accumulation of maps (here `oaa`), are left out.
"""

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._coattention import CoAttention
from models.objectives._pairs import paired_batches, partners
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `mcis`."""

    common_weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tags that both images have")
    own_weight: float = Field(default=1.0, ge=0, le=100, description="weight of the tags that one of them has alone")
    own_from: int = Field(default=2, ge=0, le=999, description="finished epochs before the latter begins")


class Mcis(ScheduledObjective):
    """The tag loss of each image, and of pairs those of what is common and of what is not.

    The network to be kept is a plain `Classifier`.

    Attributes:
        coattention: what an image sees of its partner.
        gate: of co-features [B, D, h, w], how common a place is.
        shared: evidence of each class in co-features, and in what is not common.
    """

    config: Config
    share_multiple = 2  # pairs stay whole

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.tags_of_images = targets.numpy() > 0
        channels, classes = network.backbone.head_channels, targets.shape[1]
        self.coattention = CoAttention(channels)
        self.gate = nn.Conv2d(channels, 1, 1, bias=False)
        self.shared = nn.Conv2d(channels, classes, 1, bias=False)
        for layer in (self.gate, self.shared):
            nn.init.normal_(layer.weight, std=0.01)

    def groups(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """Batches of pairs that share a tag; each image in one at most."""
        return paired_batches(self.tags_of_images, size, rng)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``common`` and ``own``; images without a partner take part in the first alone."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        partner = partners(target)
        paired = (partner != torch.arange(len(target), device=target.device)).float()
        common = target * target[partner]
        seen = self.coattention(features, features[partner])
        rest = features * (1 - self.gate(seen).sigmoid())
        own = paired * float(int(self.finished) >= self.config.own_from) * (target > common).any(dim=1)
        logits = [self.shared(maps).float().mean(dim=(2, 3)) for maps in (seen, rest)]
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "common": self.config.common_weight * mean_over(logits[0], common, paired),
            "own": self.config.own_weight * mean_over(logits[1], target - common, own),
        }


def mean_over(logits: Tensor, target: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the multi-label soft margin loss over the chosen images of the joint batch; 0 if there are none.

    Args:
        logits: [B, C] float32.
        target: [B, C] of 0 and 1.
        chosen: [B] of 0 and 1.
    """
    losses = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
    return (losses * chosen).sum() / joint_mean(chosen.sum()).clamp(min=1e-5)
