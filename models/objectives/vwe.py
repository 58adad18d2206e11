"""VWE: the classifier also learns a code book of visual words, and which of them an image shows.

Source  Ru et al., IJCAI 2021, longer as arXiv:2202.04812 (its abstract was read), and the authors' code (rulixiang/vwe, its
        first version). Each place is compared by cosine with K words, which are weights; the soft-max over words, summed over
        places, is the image's histogram, which a linear layer classifies into the tags, so that words become what tells
        classes apart. The words that are the nearest of some place are the image's labels of words, and a second linear layer
        must name them from the pooled features, so that features of whole objects are needed. Hybrid pooling: the mean over
        places counts 2, the means of maxima over 1, 4 and 16 parts of the image count 1 each. Three losses of weight 1; K 256.
        Deviations: the parts of the pyramid overlap by a cell where the grid does not divide by them, so that mirrored images
        have mirrored parts; on a grid of fewer cells than parts, a cell is in several.
"""

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective

LEVELS = (1, 2, 4)
"""Parts on a side, of each level of the pyramid."""
MEAN = 2
"""What the mean counts beside the levels."""


class Config(MethodConfig):
    """Knobs of `vwe`."""

    words: int = Field(default=256, ge=2, le=4096, description="number of visual words")
    histogram_weight: float = Field(
        default=1.0, ge=0, le=100, description="weight of the tags from the words' histogram"
    )
    words_weight: float = Field(default=1.0, ge=0, le=100, description="weight of naming the words of an image")


class HybridPoolClassifier(Classifier):
    """A classifier whose logits are those of a mix of means and maxima; CAMs are as ever."""

    def logits(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D, h, w]; they are not the mean of `evidence`."""
        return torch.flatten(self.classifier(hybrid_pool(features)), 1)


class Vwe(Objective):
    """The tag losses of pooled features and of the words' histogram, and the loss of the words.

    Attributes:
        words: [K, D] the code book.
        tags_of_words: the tags' logits of a histogram.
        words_of_features: the words' logits of pooled features.
    """

    network: HybridPoolClassifier
    config: Config

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        channels = network.backbone.head_channels
        self.words = nn.Parameter(torch.empty(config.words, channels))
        nn.init.kaiming_normal_(self.words)
        self.tags_of_words = nn.Linear(config.words, targets.shape[1], bias=False)
        self.words_of_features = nn.Linear(channels, config.words, bias=False)

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> HybridPoolClassifier:
        """The classifier with hybrid pooling."""
        return HybridPoolClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``histogram`` and ``words``."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        histogram, shown = encode(features.detach().float(), self.words)
        words = self.words_of_features(features.mean(dim=(2, 3)))
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "histogram": self.config.histogram_weight * multilabel_soft_margin(self.tags_of_words(histogram), target),
            "words": self.config.words_weight * multilabel_soft_margin(words, shown),
        }


def hybrid_pool(features: Tensor) -> Tensor:
    """[B, D, 1, 1] of features [B, D, h, w]: the mean, and the means of the maxima of 1, 4 and 16 parts."""
    levels = [F.adaptive_max_pool2d(features, level).mean(dim=(2, 3), keepdim=True) for level in LEVELS]
    total = MEAN * features.mean(dim=(2, 3), keepdim=True) + torch.stack(levels).sum(dim=0)
    return total / (MEAN + len(LEVELS))


def encode(features: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    """Visual words of images.

    Args:
        features: [B, D, h, w] float32.
        words: [K, D].

    Returns:
        The histogram [B, K], which sums to the number of places and passes gradients to the words; and [B, K] of 0 and 1, which
        words are the nearest of some place.
    """
    with torch.autocast(features.device.type, enabled=False):
        cosines = torch.einsum(
            "bdn,kd->bkn", F.normalize(features.flatten(2), dim=1), F.normalize(words.float(), dim=1)
        )
    shown = torch.zeros_like(cosines).scatter_(1, cosines.argmax(dim=1, keepdim=True), 1.0).amax(dim=2)
    return cosines.softmax(dim=1).sum(dim=2), shown
