"""The base class of every objective of the classifier: a learner of the network to be kept, and the rows that it reads."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor

from labelfactory.learning.learner import Learner
from models.backbones import Backbone
from models.classifier import Classifier


class Objective(Learner):
    """How the classifier is trained. A subclass writes `forward`, and what else it needs; its knobs are the fields of
    `Config` in the same file.

    A batch holds ``image`` [B, 3, H, W] float32 in [0, 255], ``target`` [B, C] of 0 and 1, ``index`` [B] int64,
    ``window`` [B, 5] (labelfactory.learning.examples) and, by name, the maps that `reads` names, [B, H, W] in [0, 1].

    Args:
        network: made by `build_network`.
        config: the method's knobs.
        targets: [N, C] float32 of 0 and 1, the tags of every training image.
        epochs: of the training.
    """

    network: Classifier
    reads: ClassVar[tuple[str, ...]] = ()
    """Rows that it reads beside the tags, by noun, such as ("priors",)."""
    supervision: ClassVar[frozenset[str]] = frozenset()
    """Kinds of labels beside tags that it needs; the rows that it reads add their own."""

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network)
        self.config, self.epochs = config, epochs

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> Classifier:
        """The network to be kept: a `Classifier`, or a subclass with other heads or maps."""
        return Classifier(backbone, n_classes)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A context in evaluation mode without gradients, as for `after_epoch`; then the mode is restored."""
        training = self.training
        self.eval()
        with torch.no_grad():
            yield
        self.train(training)
