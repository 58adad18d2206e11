"""RPNet: places that look like the objects of this image or of another one with a common tag are object, all others are not.

Source  Liu et al., IEEE TMM 2021, arXiv:2108.07413 (its abstract was read), and the authors' code
        (liuweide01/RPNet-Weakly-Supervised-Segmentation). Two images share a tag. The prototype of each is the mean of its
        features over a foreground, and a second one that over a random half of the foreground, a part. A place is as likely an
        object as the highest cosine of its features to these four says, at the last features and at those of stride 8; divided
        by its maximum, times 1.3 and blurred (5 × 5, deviation 3), this multiplies the features. 10 times the mean squared
        difference of both CAMs of the tags, each divided by its maximum, and the tag losses are minimised.
        Deviations: the foreground is where the CAM of a tag is at least 0.3 of its maximum (theirs: where any channel is,
        which is nearly everywhere); the features multiplied are those of one scale (theirs: the mean over four); without their
        non-local blocks, so that the same linear layer reads both, and the kept network is a plain classifier; images that find
        no partner learn from their own prototypes.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._branches import attention_of
from models.objectives._maps import EPSILON, relative, tagged_mean
from models.objectives._pairs import paired_batches, partners

HEIGHT = 1.3
"""Of the highest place of a likeness, before it is blurred."""
DEVIATION, REACH = 3.0, 2
"""Of the blur, in cells."""


class Config(MethodConfig):
    """Knobs of `rpnet`; defaults are the authors'."""

    foreground: float = Field(
        default=0.3,
        gt=0,
        lt=1,
        description="least CAM, relative to its maximum, of a place that a prototype is made of",
    )
    weight: float = Field(default=10.0, gt=0, le=1000, description="weight of the squared difference of the CAMs")


class RpNet(Objective):
    """The tag loss, and the difference of the CAMs from those of places that look like objects.

    The network to be kept is a plain `Classifier`.
    """

    config: Config
    share_multiple = 0  # parts are drawn

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.tags_of_images = targets.numpy() > 0

    def groups(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """Batches of pairs that share a tag; each image in one at most."""
        return paired_batches(self.tags_of_images, size, rng)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``regions``."""
        network, target = self.network, batch["target"]
        taps = network.backbone(batch["image"])
        features = network.backbone.head(taps.c5)
        network.note(features)
        evidence = network.evidence(features).float()
        foreground = (attention_of(evidence, target > 0) >= self.config.foreground).float()
        early = F.interpolate(taps.c3.float(), size=features.shape[-2:], mode="bilinear", align_corners=True)
        partner = partners(target)
        with torch.autocast(features.device.type, enabled=False):
            alike = torch.maximum(*(likeness(maps.float(), foreground, partner) for maps in (features, early)))
            mask = blurred(HEIGHT * alike / (alike.amax(dim=(2, 3), keepdim=True) + EPSILON))
        # a factor of all channels of a place passes through the linear layer
        differences = (relative(evidence) - relative(evidence * mask)).square()
        return {
            "tags": multilabel_soft_margin(network.logits(features), target),
            "regions": self.config.weight * tagged_mean(differences, target),
        }


def likeness(features: Tensor, foreground: Tensor, partner: Tensor) -> Tensor:
    """[B, 1, h, w] in [0, 1]: the highest cosine of a place to the prototypes of its own image and of its partner.

    Args:
        features: [B, D, h, w] float32.
        foreground: [B, 1, h, w] of 0 and 1; a prototype of no places is like none.
        partner: [B] int64.
    """
    part = foreground * (torch.rand(foreground.shape) < 0.5).to(foreground.device)
    cosines = []
    for mask in (foreground, part):
        prototypes = (features * mask).sum(dim=(2, 3), keepdim=True) / mask.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        cosines += [F.cosine_similarity(features, own, dim=1) for own in (prototypes, prototypes[partner])]
    return torch.stack(cosines).amax(dim=0)[:, None].relu()


def blurred(maps: Tensor) -> Tensor:
    """Maps [B, 1, h, w] after a Gaussian blur; beyond the border there is nothing, and weights are those inside."""
    offsets = torch.arange(-REACH, REACH + 1, device=maps.device, dtype=maps.dtype)
    line = torch.exp(-offsets.square() / (2 * DEVIATION**2))
    kernel = (line[:, None] * line)[None, None]
    inside = F.conv2d(torch.ones_like(maps[:1]), kernel, padding=REACH)
    return F.conv2d(maps, kernel, padding=REACH) / inside
