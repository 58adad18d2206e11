"""TPL: a first network is trained and kept as it is; a second one learns the tags from what the first one's maps leave.

Source  Kim et al., ICCV 2017, arXiv:1708.02108 (its abstract and a summary were read; no code of the authors was to be had):
        the first network's heat maps of the image's tags are thresholded, the features of the second network are multiplied by
        0 there, and it learns the tags from the rest. The maps of both together show the object.
        Deviations: the second network starts as the first one and not from ImageNet, and goes on to learn the tags of the
        whole image too, else it forgets to name them, and logits and CAM of the network that is kept are its own; the features
        that the linear layer reads are suppressed (theirs: those before the last convolutions), and average pooling, not
        theirs, is behind them; the threshold, where the second phase begins and the mean of both maps are choices of this
        project; at inference, the classes that the first network names stand for the tags.
Memory  the network that is kept has both: twice the size, and twice the time of a pass.
"""

import copy
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Look, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._branches import attention_of
from models.objectives._maps import relative
from models.objectives._phases import second_phase
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `tpl`."""

    threshold: float = Field(
        default=0.6, gt=0, lt=1, description="relative evidence of the first network from which on features are hidden"
    )
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the tag loss of the rest")
    start: float = Field(
        default=0.5, gt=0, lt=1, description="share of the epochs in which the first network is trained"
    )


class TwoPhaseClassifier(Classifier):
    """A classifier beside a frozen first one, which says what it has seen already.

    Attributes:
        first: the network after the first phase; in evaluation mode, without gradients.
    """

    def __init__(self, backbone: Backbone, n_classes: int, threshold: float) -> None:
        super().__init__(backbone, n_classes)
        self.threshold = threshold
        self.first = copy.deepcopy(Classifier(backbone, n_classes)).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "TwoPhaseClassifier":
        """Set the mode; the first network stays in evaluation mode."""
        super().train(mode)
        self.first.eval()
        return self

    def end_first_phase(self) -> None:
        """Copy the network into the first one."""
        names = self.first.state_dict()
        self.first.load_state_dict({name: value for name, value in self.state_dict().items() if name in names})

    def rest(self, features: Tensor, seen: Tensor, classes: Tensor) -> Tensor:
        """Features [B, D, h, w] that are 0 where the first network's evidence seen [B, C, h, w] of classes [B, C] is high."""
        return features * (attention_of(seen, classes) < self.threshold)

    def maps(self, images: Tensor) -> Tensor:
        """The mean of both networks' maps, each relative to its maximum, [B, C, h, w] float32 in [0, 1)."""
        found = self.first.activation(images)
        seen, logits = self.first.evidence(found), self.first.logits(found)
        named = (logits > 0) | (logits == logits.amax(dim=1, keepdim=True))
        second = self.evidence(self.rest(self.activation(images), seen, named))
        return (relative(seen) + relative(second)) / 2


class Tpl(ScheduledObjective):
    """The tag loss of the whole image, and in the second phase that of what the first network leaves."""

    network: TwoPhaseClassifier
    config: Config

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.start = second_phase(config.start, epochs, "tpl's second network")

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> TwoPhaseClassifier:
        """The classifier and its place for the first one."""
        return TwoPhaseClassifier(backbone, n_classes, config.threshold)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags`` and ``rest``, which is 0 in the first phase."""
        network, images, target = self.network, batch["image"], batch["target"]
        features = network.activation(images)
        tags = multilabel_soft_margin(network.logits(features), target)
        if int(self.finished) < self.start:
            return {"tags": tags, "rest": torch.zeros_like(tags)}
        with torch.no_grad():
            seen = network.first.evidence(network.first.activation(images))
        rest = network.rest(features, seen, target > 0)
        return {"tags": tags, "rest": self.config.weight * multilabel_soft_margin(network.logits(rest), target)}

    def after_epoch(self, epoch: int, look: Look) -> None:
        """After the first phase, keep the network as it is."""
        super().after_epoch(epoch, look)
        if epoch == self.start:
            self.network.end_first_phase()
