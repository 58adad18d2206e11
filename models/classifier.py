"""The multi-label classifier: backbone, head, global average pooling, one linear layer without bias.

Pooling and a linear layer commute, so the same weights applied at every position give the class activation map
(Zhou et al., CVPR 2016, arXiv:1512.04150).
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labelfactory.errors import ShapeError
from labelfactory.learning.learner import Learner
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import choose
from models.backbones import Backbone
from models.backbones._choice import rebuild_backbone
from models.backbones._fold import fold_norms

MOMENTUM = 0.05
"""Weight of the newest batch in the features' mean, which covers about twenty batches."""


class Classifier(nn.Module):
    """Tags from photographs.

    Args:
        backbone: gives the features.
        n_classes: number C of object classes, without the background.

    Attributes:
        feature_mean: [D] float32, running mean of the features over all positions of the training photographs. What all
            positions share does not distinguish them (models/cams/pcm.py).
    """

    feature_mean: Tensor

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__()
        if n_classes < 1:
            raise ShapeError(f"a classifier needs at least one class, not {n_classes}")
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.head_channels, n_classes, 1, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.01)
        self.register_buffer("feature_mean", torch.zeros(backbone.head_channels))

    @property
    def weight(self) -> Tensor:
        """The linear layer, [C, D]."""
        return self.classifier.weight[:, :, 0, 0]

    def activation(self, images: Tensor) -> Tensor:
        """Features before pooling, [B, D, h, w], of images [B, 3, H, W], RGB in [0, 255]."""
        features = self.backbone.head(self.backbone(images).c5)
        self.note(features)
        return features

    def note(self, features: Tensor) -> None:
        """Update the running mean with features [B, D, h, w], in training mode alone; every forward pass calls it."""
        if self.training:
            self.feature_mean.lerp_(joint_mean(features.detach().float().mean(dim=(0, 2, 3))), MOMENTUM)

    def logits(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D, h, w]."""
        pooled = F.adaptive_avg_pool2d(features, 1)
        return torch.flatten(self.classifier(pooled), 1)

    def evidence(self, features: Tensor) -> Tensor:
        """Logits at every position, [B, C, h, w], of features [B, D, h, w]; their mean over positions is `logits`."""
        evidence: Tensor = self.classifier(features)
        return evidence

    def maps(self, images: Tensor) -> Tensor:
        """The maps that the network was trained to give, [B, C, h, w] float32, ≥ 0; here the CAMs. A subclass with other
        heads gives its own.
        """
        return self.evidence(self.activation(images)).float().relu()

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, C] of images [B, 3, H, W], RGB in [0, 255]."""
        return self.logits(self.activation(images))


def classifier_from(architecture: dict[str, Any], state: Mapping[str, Tensor]) -> Classifier:
    """The classifier of a checkpoint, in evaluation mode on the CPU, its batch norm folded into the convolutions.

    `feature_mean` is NaN where an older checkpoint has none.
    """
    objective = choose("models.objectives", architecture.get("objective", "tags"))
    learner: Any = objective.subclass_of(Learner)
    net: Classifier = learner.build_network(rebuild_backbone(architecture), architecture["classes"], objective)
    net.load_state_dict({"feature_mean": torch.full_like(net.feature_mean, torch.nan), **state})
    fold_norms(net.backbone)
    return net.eval()
