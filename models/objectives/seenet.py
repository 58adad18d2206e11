"""SeeNet: the second branch sees the first one's peaks erased and the background's features with their sign turned.

Source  Hou et al., NeurIPS 2018, arXiv:1810.09821 (its abstract was read), and the authors' code (Andrew-Qibin/SeeNet,
        inference alone). Places are told apart by the highest of the tags' maps M of the first branch: where M > δh they are
        erased (0), where M < δl they are background, whose features are multiplied by −1 (C-ReLU), the others stay. The second
        branch learns the tags from this. A third one, with the weights of the second, sees the background alone and must not
        find any tag.
        Settings: δh 0.8 as in their network file; there δl is 0, which turns nothing: 0.05 is a choice of this project, and so
        are the weights 1.
        Deviations: the third sees places where the map of the second is below the mean of δh and δl, from memory of the paper;
        the first epochs train the first branch alone, since the map of a network that knows nothing tells no background; the
        first branch is the classifier's linear layer; at inference, the classes that the network names stand for the tags.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._branches import TwoBranchClassifier, attention_of
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `seenet`."""

    high: float = Field(default=0.8, gt=0, lt=1, description="δh: relative evidence above which features are erased")
    low: float = Field(default=0.05, ge=0, lt=1, description="δl: relative evidence below which a place is background")
    width: int = Field(default=256, ge=1, le=4096, description="channels of the second branch")
    weight: float = Field(default=1.0, ge=0, le=100, description="weight of the second branch's tag loss")
    background_weight: float = Field(
        default=1.0, ge=0, le=100, description="weight of the loss of tags in the background"
    )
    start: float = Field(default=0.5, ge=0, lt=1, description="share of the epochs on the first branch's tags alone")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class SelfErasingClassifier(TwoBranchClassifier):
    """A classifier with a branch that sees it erased and its background turned."""

    def __init__(self, backbone: Backbone, n_classes: int, config: Config) -> None:
        super().__init__(backbone, n_classes, config.width)
        self.high, self.low = config.high, config.low

    def changed(self, features: Tensor, attention: Tensor) -> Tensor:
        """Features times 0 where attention is high, −1 where it is low, 1 elsewhere."""
        return features * (ternary(attention, self.high, self.low)).to(features.dtype)

    def background(self, features: Tensor, attention: Tensor) -> Tensor:
        """Features that are 0 where attention reaches the mean of the two thresholds."""
        return features * (attention < (self.high + self.low) / 2)


class SeeNet(ScheduledObjective):
    """The tag losses of both branches, and that of the background without tags."""

    network: SelfErasingClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> SelfErasingClassifier:
        """The classifier with its second branch."""
        return SelfErasingClassifier(backbone, n_classes, config)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``erased`` and ``background``; the latter two are 0 in the first epochs."""
        network, target = self.network, batch["target"]
        features = network.activation(batch["image"])
        tags = multilabel_soft_margin(network.logits(features), target)
        if not self.started(self.config.start):
            return {"tags": tags, "erased": torch.zeros_like(tags), "background": torch.zeros_like(tags)}
        attention = attention_of(network.evidence(features), target > 0)
        second = network.branch(network.changed(features, attention)).float()
        third = network.branch(network.background(features, attention_of(second, target > 0))).float()
        erased = multilabel_soft_margin(second.mean(dim=(2, 3)), target)
        background = multilabel_soft_margin(third.mean(dim=(2, 3)), torch.zeros_like(target))
        return {
            "tags": tags,
            "erased": self.config.weight * erased,
            "background": self.config.background_weight * background,
        }


def ternary(attention: Tensor, high: float, low: float) -> Tensor:
    """0 where attention is above `high`, −1 where it is below `low`, else 1."""
    return 1 - 2 * (attention < low).float() - (attention > high).float()
