"""MDC: dilated convolutions beside the classifier carry evidence from the telling part of an object to its other parts.

Source  Wei et al., CVPR 2018, arXiv:1805.04574 ("Revisiting Dilated Convolution"; its abstract was read). Blocks with several
        dilations behind the features, each with average pooling and a classifier of its own, learn the tags. A dilated kernel
        also fires where the telling part lies that many cells away, so its map reaches further, but with false places that
        differ from rate to rate: the map is the undilated one plus the mean of the dilated ones. Rates 3, 6 and 9, and the sum,
        are from notes on the paper.
        Deviations: the undilated block is the classifier's linear layer; the others are a 3×3 convolution of 256 channels,
        ReLU and a 1×1 convolution (theirs: 1024 channels); every map is divided by its maximum before they are added.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._maps import relative

Rate = Annotated[int, Field(ge=1, le=64)]


class Config(MethodConfig):
    """Knobs of `mdc`."""

    rates: tuple[Rate, ...] = Field(
        default=(3, 6, 9), min_length=1, description="dilations of the blocks, in cells of the grid"
    )
    width: int = Field(default=256, ge=1, le=4096, description="channels of each block")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the tag loss of each block")


class DilatedBlock(nn.Module):
    """A dilated 3×3 convolution with ReLU and a 1×1 convolution: evidence of each class at every position.

    Args:
        channels: D of the features.
        width: channels between.
        n_classes: C.
        rate: cells between the places that the kernel reads.
    """

    def __init__(self, channels: int, width: int, n_classes: int, rate: int) -> None:
        super().__init__()
        self.dilated = nn.Conv2d(channels, width, 3, padding=rate, dilation=rate)
        self.evidence = nn.Conv2d(width, n_classes, 1, bias=False)
        nn.init.kaiming_normal_(self.dilated.weight, nonlinearity="relu")
        nn.init.zeros_(self.dilated.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.evidence.weight, std=0.01)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] float32 of features [B, D, h, w]."""
        evidence: Tensor = self.evidence(self.dilated(features).relu())
        return evidence.float()


class MultiDilatedClassifier(Classifier):
    """A classifier with blocks of several dilations."""

    def __init__(self, backbone: Backbone, n_classes: int, rates: Sequence[int], width: int) -> None:
        super().__init__(backbone, n_classes)
        self.blocks = nn.ModuleList(DilatedBlock(backbone.head_channels, width, n_classes, rate) for rate in rates)

    def maps(self, images: Tensor) -> Tensor:
        """The classifier's map plus the mean of the blocks' maps, [B, C, h, w] float32 in [0, 2)."""
        features = self.activation(images)
        dilated = torch.stack([relative(block(features)) for block in self.blocks])
        return relative(self.evidence(features)) + dilated.mean(dim=0)


class Mdc(Objective):
    """The tag losses of the classifier and of every block."""

    network: MultiDilatedClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> MultiDilatedClassifier:
        """The classifier with its blocks."""
        return MultiDilatedClassifier(backbone, n_classes, config.rates, config.width)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``dilated``, a sum over the blocks."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        losses = [multilabel_soft_margin(block(features).mean(dim=(2, 3)), target) for block in self.network.blocks]
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "dilated": self.config.weight * torch.stack(losses).sum(),
        }
