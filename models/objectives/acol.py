"""ACoL: a second branch learns the tags from features in which the first branch's peaks are erased.

Source  Zhang et al., CVPR 2018, arXiv:1804.06962, and the authors' code (xiaomengyc/ACoL): two classifiers on the same
        features, each 3×3, 3×3 and 1×1 convolutions and the mean over places; the second sees zeros where the first one's map
        of the label, stretched to [0, 1], is at least δ; both losses have weight 1; the map is the higher of both. δ 0.6 as in
        their script.
        Deviations: losses of several tags, and the area of all tags is erased; the first branch is the classifier's linear
        layer; its map is divided by the maximum of its positive part; at inference, the classes that the network names stand
        for the tags; the second branch has 256 channels (theirs: 1024 for 1,000 classes).
"""

from typing import Any

from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._branches import TwoBranchClassifier, attention_of


class Config(MethodConfig):
    """Knobs of `acol`."""

    threshold: float = Field(
        default=0.6, gt=0, lt=1, description="δ: relative evidence from which on features are erased"
    )
    width: int = Field(default=256, ge=1, le=4096, description="channels of the second branch")
    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the second branch's tag loss")


class ComplementaryClassifier(TwoBranchClassifier):
    """A classifier with a branch for what its peaks leave."""

    def __init__(self, backbone: Backbone, n_classes: int, width: int, threshold: float) -> None:
        super().__init__(backbone, n_classes, width)
        self.threshold = threshold

    def changed(self, features: Tensor, attention: Tensor) -> Tensor:
        """Features that are 0 where attention reaches the threshold."""
        return features * (attention < self.threshold)


class Acol(Objective):
    """The tag losses of both branches."""

    network: ComplementaryClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> ComplementaryClassifier:
        """The classifier with its second branch."""
        return ComplementaryClassifier(backbone, n_classes, config.width, config.threshold)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``complement``."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        attention = attention_of(self.network.evidence(features), target > 0)
        complement = self.network.branch(self.network.changed(features, attention)).float()
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "complement": self.config.weight * multilabel_soft_margin(complement.mean(dim=(2, 3)), target),
        }
