"""ECS-Net: the CAM of an image whose telling parts are erased says which other places are of the class; a head learns both.

Source  Sun et al., ICCV 2021, "ECS-Net: Improving Weakly Supervised Semantic Segmentation by Using Connections Between Class
        Activation Maps" (no arXiv id; its abstract was read): what CAMs mark is erased from the images; what the network
        predicts in the erased images becomes pixel labels for the other regions, and a rule keeps out noise. The rest is
        ours: the erased images learn the tags too; the CAM of the erased image counts for tags that the network still names
        there; a place takes the higher of both CAMs, relative to their maxima, is of a class from 0.45 on and background up
        to 0.15, else void (as in `amn`); a head beside the linear layer learns these classes by cross-entropy, the mean of
        the means over background and over objects; the map is that head's probability.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._erasing import erase, erasing_mask
from models.objectives._maps import relative
from models.objectives._places import balanced_loss, confident_places
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `ecs_net`; all defaults are ours."""

    threshold: float = Field(
        default=0.6, gt=0, lt=1, description="pixels whose CAM, relative to its maximum, is above this are erased"
    )
    foreground: float = Field(default=0.45, gt=0, lt=1, description="least CAM of a place that is of a class")
    background: float = Field(default=0.15, ge=0, lt=1, description="greatest CAM of a place that is background")
    erased_weight: float = Field(default=0.5, ge=0, le=100, description="weight of the tag loss of the erased image")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the loss of places")
    start: float = Field(default=0.5, ge=0, lt=1, description="share of the epochs on tags of whole images alone")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if self.background >= self.foreground:
            raise ValueError("background must be below foreground")
        return self


class PlacesClassifier(Classifier):
    """A classifier with a head for the class of each place; its own maps are that head's probabilities."""

    def __init__(self, backbone: Backbone, n_classes: int) -> None:
        super().__init__(backbone, n_classes)
        self.places = nn.Conv2d(backbone.head_channels, 1 + n_classes, 1)
        nn.init.normal_(self.places.weight, std=0.01)
        nn.init.zeros_(self.places.bias)  # type: ignore[arg-type]

    def maps(self, images: Tensor) -> Tensor:
        """The probability of each class at each place, [B, C, h, w] float32."""
        logits: Tensor = self.places(self.activation(images))
        return logits.float().softmax(dim=1)[:, 1:]


class EcsNet(ScheduledObjective):
    """The tag losses of the image and of the erased image, and the loss of places."""

    network: PlacesClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> PlacesClassifier:
        """The classifier with its head for places."""
        return PlacesClassifier(backbone, n_classes)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``erased`` and ``places``; the latter two are 0 in the first epochs."""
        network, config, images, target = self.network, self.config, batch["image"], batch["target"]
        features = network.activation(images)
        tags = multilabel_soft_margin(network.logits(features), target)
        if not self.started(config.start):
            return {"tags": tags, "erased": torch.zeros_like(tags), "places": torch.zeros_like(tags)}
        evidence = network.evidence(features).detach().float() * target[:, :, None, None]
        size = (images.shape[2], images.shape[3])
        masks = erasing_mask(evidence, stride=network.backbone.output_stride, size=size)
        peaks = (masks.amax(dim=1, keepdim=True) > config.threshold).float()
        rest = network.activation(erase(images, peaks, network.backbone.mean))
        logits = network.logits(rest)
        still = target * (logits.detach() > 0)
        cams = united_cams(evidence, network.evidence(rest).detach(), still)
        labels = confident_places(cams, foreground=config.foreground, background=config.background)
        return {
            "tags": tags,
            "erased": config.erased_weight * multilabel_soft_margin(logits, target),
            "places": config.weight * balanced_loss(network.places(features).float(), labels, 0.0),
        }


def united_cams(whole: Tensor, erased: Tensor, still: Tensor) -> Tensor:
    """The higher of two CAMs, relative to their maxima: [B, C, h, w] in [0, 1).

    Args:
        whole: evidence [B, C, h, w] of the tags in the image, 0 for other classes.
        erased: evidence in the erased image.
        still: [B, C] of 0 and 1: classes whose evidence in the erased image counts.
    """
    return torch.maximum(relative(whole), relative(erased) * still[:, :, None, None])
