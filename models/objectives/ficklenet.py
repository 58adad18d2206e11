"""FickleNet: each place is judged by a random choice of the places around it; maps of many choices are put together.

Source  Lee et al., CVPR 2019, arXiv:1902.10421 (its abstract was read; no code of the authors was to be had): at each position
        of a sliding window, hidden units are chosen at random, the one in the middle always; their scores are pooled and
        learn the tags. At inference, maps of many choices of one image are put together: parts that tell little alone are
        found by those choices that lack the telling ones. Rate 0.9 and about 200 choices are the paper's, from notes on it.
        Deviations: the window is a second head, beside the classifier's linear layer, which learns from all units; all channels
        of a place are chosen or dropped together; a map is the evidence of a choice, divided by its maximum (theirs: Grad-CAM),
        and maps are averaged (theirs: a place is of a class where any of the maps is above a threshold; the highest of 200
        lights a small grid everywhere); choices come in mirrored pairs, the same for every image, so that a mirrored image has
        mirrored maps. A window of 5 cells on our grids of stride 16 is about as wide as 9, the paper's from memory, on
        theirs of stride 8.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._maps import relative


class Config(MethodConfig):
    """Knobs of `ficklenet`."""

    rate: float = Field(default=0.9, ge=0, lt=1, description="share of the places around the middle that are dropped")
    window: int = Field(default=5, ge=3, le=15, description="cells on a side of the window; odd")
    draws: int = Field(default=200, ge=2, le=2000, description="choices whose maps are put together at inference")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the tag loss of what is chosen")

    @field_validator("window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd, so that the window has a middle")
        return value


class FickleClassifier(Classifier):
    """A classifier with a head that sees a random choice of the places around each place.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        config: window k, rate and draws.
    """

    def __init__(self, backbone: Backbone, n_classes: int, config: Config) -> None:
        super().__init__(backbone, n_classes)
        self.rate, self.draws, self.side = config.rate, config.draws, config.window
        self.window = nn.Conv2d(backbone.head_channels, n_classes, self.side, bias=False)
        nn.init.normal_(self.window.weight, std=0.01)

    def parts(self, features: Tensor) -> Tensor:
        """What each place of its window adds to the evidence of a place: [B, k, k, C, h, w] float32 of features [B, D, h, w]."""
        (_, channels, height, width), side, margin = features.shape, self.side, self.side // 2
        kernels = self.window.weight.permute(2, 3, 0, 1).reshape(-1, channels, 1, 1)
        there = F.conv2d(F.pad(features, [margin] * 4), kernels).float()
        there = there.view(len(there), side, side, -1, *there.shape[-2:])
        rows = [
            torch.stack([there[:, i, j, :, i : i + height, j : j + width] for j in range(side)], dim=1)
            for i in range(side)
        ]
        return torch.stack(rows, dim=1)

    def choices(self, numbers: Tensor) -> Tensor:
        """Factors of parts, by random numbers [..., k, k, h, w] in [0, 1): 1 in the middle; elsewhere 0 for the share `rate`,
        else as much as keeps the mean.
        """
        factors = (numbers >= self.rate).float() / (1 - self.rate)
        factors[..., self.side // 2, self.side // 2, :, :] = 1
        return factors

    def maps(self, images: Tensor) -> Tensor:
        """The mean of the maps of all draws, each relative to its maximum, [B, C, h, w] float32 in [0, 1)."""
        parts = self.parts(self.activation(images))
        generator = torch.Generator().manual_seed(0)
        total, pairs = torch.zeros_like(parts[:, 0, 0]), (self.draws + 1) // 2
        for _ in range(pairs):
            numbers = torch.rand(self.side, self.side, *parts.shape[-2:], generator=generator).to(parts.device)
            for mirrored in (numbers, numbers.flip(1, 3)):
                total += relative(chosen_evidence(parts, self.choices(mirrored)[None]))
        return total / (2 * pairs)


class FickleNet(Objective):
    """The tag loss, and that of a random choice of places."""

    network: FickleClassifier
    config: Config
    share_multiple = 0  # it draws numbers for each image

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> FickleClassifier:
        """The classifier with its window."""
        return FickleClassifier(backbone, n_classes, config)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``chosen``."""
        features = self.network.activation(batch["image"])
        parts = self.network.parts(features)
        numbers = torch.rand(len(parts), *parts.shape[1:3], *parts.shape[-2:]).to(parts.device)
        evidence = chosen_evidence(parts, self.network.choices(numbers))
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), batch["target"]),
            "chosen": self.config.weight * multilabel_soft_margin(evidence.mean(dim=(2, 3)), batch["target"]),
        }


def chosen_evidence(parts: Tensor, factors: Tensor) -> Tensor:
    """[B, C, h, w]: the sum of parts [B, k, k, C, h, w] times their factors [B or 1, k, k, h, w]."""
    return (parts * factors[:, :, :, None]).sum(dim=(1, 2))
