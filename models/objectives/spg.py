"""SPG: sure places of the CAM teach earlier layers what is object and what is background, and these teach the last ones.

Source  Zhang et al., ECCV 2018, arXiv:1807.08902 (its abstract was read), and the authors' code (xiaomengyc/SPG). The map of the
        label, stretched to [0, 1], gives guidance: object above 0.7, background below 0.05, the rest is void. From it a side
        branch at a deeper layer learns one map of objects, by binary cross-entropy. The sigmoid of that map gives guidance (0.5
        and 0.05) to a branch at an earlier layer. The mean of both (0.7 and 0.1) guides a branch at the last features. Both
        side branches end in the same layers. All losses have weight 1; the map is the CAM.
        Deviations: attention is the highest of the maps of all tags, and an image without tags is all background; branches
        are compared on the grid of the classifier, not at the image's size; where no place of an image with tags is above a
        threshold, it is lowered to 0.7 of the maximum (theirs: where fewer than 30 pixels are); 128 channels (theirs: 512), no
        dropout; the first epochs, a share of our choice, learn from the tags alone.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._schedule import ScheduledObjective

VOID = -1.0
DEEPER = (0.5, 0.05)
"""Probabilities of the deeper branch above which a place is object and below which it is background, for the earlier one."""
FUSED = (0.7, 0.1)
"""Those of the mean of both branches, for the last one."""
LOWERED = 0.7
"""Share of the highest attention above which a place is an object, where none is above its threshold."""


class Config(MethodConfig):
    """Knobs of `spg`."""

    high: float = Field(default=0.7, gt=0, lt=1, description="stretched CAM above which a place is object")
    low: float = Field(default=0.05, ge=0, lt=1, description="stretched CAM below which a place is background")
    width: int = Field(default=128, ge=1, le=2048, description="channels of the branches")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of each branch's loss")
    start: float = Field(default=0.25, ge=0, lt=1, description="share of the epochs on tags alone")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Spg(ScheduledObjective):
    """The tag loss and those of three branches.

    The network to be kept is a plain `Classifier`.

    Attributes:
        deeper, earlier: of the middle features of the backbone.
        shared: of what both give, the logit of an object.
        last: of the classifier's features, the logit of an object.
    """

    config: Config

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        _, c3, c4, _ = network.backbone.channels
        width, channels = config.width, network.backbone.head_channels
        self.earlier = nn.Conv2d(c3, width, 3, padding=1)
        self.deeper = nn.Conv2d(c4, width, 3, padding=1)
        self.shared = object_head(width, width)
        self.last = object_head(channels, width)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``deeper``, ``earlier`` and ``last``; the latter three are 0 in the first epochs."""
        network, target, config = self.network, batch["target"], self.config
        taps = network.backbone(batch["image"])
        features = network.backbone.head(taps.c5)
        network.note(features)
        tags = multilabel_soft_margin(network.logits(features), target)
        if not self.started(config.start):
            return {"tags": tags, **{name: torch.zeros_like(tags) for name in ("deeper", "earlier", "last")}}
        grid = features.shape[-2:]
        deeper, earlier = (
            _on_grid(self.shared(side(tap).relu()).float(), grid)
            for side, tap in ((self.deeper, taps.c4), (self.earlier, taps.c3))
        )
        last = self.last(features).float()
        attention = label_attention(network.evidence(features).detach().float(), target)
        shown, fused = target.any(dim=1), (deeper.sigmoid() + earlier.sigmoid()) / 2
        losses = {
            "deeper": guided_loss(deeper, guidance(attention, config.high, config.low, shown)),
            "earlier": guided_loss(earlier, guidance(deeper.sigmoid(), *DEEPER, shown)),
            "last": guided_loss(last, guidance(fused, *FUSED, shown)),
        }
        return {"tags": tags, **{name: config.weight * loss for name, loss in losses.items()}}


def object_head(channels: int, width: int) -> nn.Sequential:
    """A 3×3 convolution with ReLU and a 1×1 convolution to one map."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1))


def _on_grid(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps on another grid; first cell on first and last on last."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def label_attention(evidence: Tensor, target: Tensor) -> Tensor:
    """[B, 1, h, w] in [0, 1]: the highest of the tags' maps of evidence [B, C, h, w], each stretched to [0, 1]; 0 without tags."""
    least, most = evidence.amin(dim=(2, 3), keepdim=True), evidence.amax(dim=(2, 3), keepdim=True)
    stretched = (evidence - least) / (most - least).clamp(min=1e-5)
    return (stretched * target[:, :, None, None]).amax(dim=1, keepdim=True)


def guidance(attention: Tensor, high: float, low: float, shown: Tensor) -> Tensor:
    """Labels of places: 1 an object, 0 the background, −1 void.

    Args:
        attention: [B, 1, h, w] in [0, 1].
        high: above it is an object; where nothing is, above 0.7 of the maximum.
        low: below it is background.
        shown: [B] bool, whether the image has an object at all.
    """
    highest = attention.amax(dim=(2, 3), keepdim=True)
    objects = (attention > torch.where(highest > high, high, LOWERED * highest)) & shown[:, None, None, None]
    return torch.where(attention < low, 0.0, torch.where(objects, 1.0, VOID))


def guided_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy over the places of the joint batch whose label is not void; 0 if there are none."""
    known = (labels != VOID).float()
    losses = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
    return (losses * known).sum() / joint_mean(known.sum()).clamp(min=1e-5)
