"""A second branch behind the features, which sees them with what the first branch attends to erased."""

import torch
from torch import Tensor, nn

from models.backbones import Backbone
from models.classifier import Classifier
from models.objectives._maps import relative


class Branch(nn.Module):
    """Two 3×3 convolutions with ReLU and a 1×1 convolution: evidence of each class at every position.

    Args:
        channels: D of the features.
        width: channels between.
        n_classes: C.
    """

    def __init__(self, channels: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.evidence = nn.Conv2d(width, n_classes, 1)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.evidence.weight, std=0.01)
        for layer in (self.first, self.second, self.evidence):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] of features [B, D, h, w]."""
        evidence: Tensor = self.evidence(self.second(self.first(features).relu()).relu())
        return evidence


class TwoBranchClassifier(Classifier):
    """A classifier with a second branch; its own maps are the higher of both branches' maps.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes.
        width: channels of the second branch.
    """

    def __init__(self, backbone: Backbone, n_classes: int, width: int) -> None:
        super().__init__(backbone, n_classes)
        self.branch = Branch(backbone.head_channels, width, n_classes)

    def changed(self, features: Tensor, attention: Tensor) -> Tensor:
        """What the second branch sees of features [B, D, h, w], by attention [B, 1, h, w] in [0, 1); a subclass says what."""
        raise NotImplementedError

    def maps(self, images: Tensor) -> Tensor:
        """The higher of both branches' maps, each relative to its maximum, [B, C, h, w] float32 in [0, 1).

        Attention is that of the classes which the network names (probability above one half, else the most probable one),
        since the tags are not known here.
        """
        features = self.activation(images)
        first = self.evidence(features)
        logits = self.logits(features)
        named = (logits > 0) | (logits == logits.amax(dim=1, keepdim=True))
        second = self.branch(self.changed(features, attention_of(first, named)))
        return torch.maximum(relative(first), relative(second))


def attention_of(evidence: Tensor, classes: Tensor) -> Tensor:
    """The highest of the relative maps of some classes, without gradient: [B, 1, h, w] of evidence and classes [B, C]."""
    return (relative(evidence.detach()) * classes[:, :, None, None]).amax(dim=1, keepdim=True)
