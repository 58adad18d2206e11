"""ICD: within the images of a class, a direction of features divides object from background, and a head learns this division.

Source  Fan et al., CVPR 2020 ("Learning Integral Objects with Intra-Class Discriminator", no arXiv id; its abstract was read),
        and the authors' code (js-fan/ICD). Bottom-up: for each class a direction in the space of normalised features, that in
        which the places of images with this one tag differ most (their squared projections grow); the side with the higher
        mean CAM, a moving average with momentum 0.9, is the object. Top-down: a head of two convolutions and a linear layer of
        all their features learns, class by class, the sign of the projection by binary cross-entropy, at places where it is
        more than 0.2 of its highest or lowest value; its weight rises from e⁻¹⁰ to 1 in the first tenth of the training. The
        map is that head's: above one half is object.
        Deviations: projections are not averaged over superpixels, which need the photograph; the share of features that the
        direction does not explain is minimised in place of a growing sum, features are normalised without learnt factors, and
        both without a gradient to the features, as theirs; 256 channels (theirs: 1024); the map is a probability (theirs:
        the positive part of the logit).
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._schedule import ScheduledObjective

EPSILON = 1e-5


class Config(MethodConfig):
    """Knobs of `icd`."""

    sure: float = Field(
        default=0.2, ge=0, lt=1, description="share of the highest, or lowest, projection above which a place is learnt"
    )
    width: int = Field(default=256, ge=1, le=4096, description="channels of the head")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of the mean CAM on each side of a direction")
    warmup: float = Field(default=0.1, ge=0, le=1, description="share of the epochs in which the head's weight rises")
    weight: float = Field(default=1.0, gt=0, le=100, description="weight of the head's loss")


class DiscriminatingClassifier(Classifier):
    """A classifier with a head that tells the objects of each class from their background."""

    def __init__(self, backbone: Backbone, n_classes: int, width: int) -> None:
        super().__init__(backbone, n_classes)
        channels = backbone.head_channels
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 1)
        self.divide = nn.Conv2d(channels + 2 * width, n_classes, 1, bias=False)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.divide.weight, std=0.01)

    def division(self, features: Tensor) -> Tensor:
        """Logits that a place of an image of a class shows the object: [B, C, h, w] float32 of features [B, D, h, w]."""
        first = self.first(features).relu()
        second = self.second(first).relu()
        logits: Tensor = self.divide(torch.cat([features, first, second], dim=1))
        return logits.float()

    def maps(self, images: Tensor) -> Tensor:
        """The probability that a place shows the object, [B, C, h, w] float32."""
        return self.division(self.activation(images)).sigmoid()


class Icd(ScheduledObjective):
    """The tag loss, that of the directions, and that of the head.

    Attributes:
        directions: [C, D], of each class; their lengths do not count.
        sides: [C, 2], moving mean of the CAM where the projection is positive, and where it is negative.
    """

    network: DiscriminatingClassifier
    config: Config
    sides: Tensor

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.directions = nn.Parameter(torch.randn(targets.shape[1], network.backbone.head_channels) * 0.01)
        self.register_buffer("sides", torch.zeros(targets.shape[1], 2))

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> DiscriminatingClassifier:
        """The classifier with its head."""
        return DiscriminatingClassifier(backbone, n_classes, config.width)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``directions`` and ``head``."""
        target = batch["target"]
        features = self.network.activation(batch["image"])
        with torch.autocast(features.device.type, enabled=False):
            places = normalised(features.detach().float())
            projections = projected(places, self.directions)
        alone = target * (target.sum(dim=1, keepdim=True) == 1)
        left = unexplained(places, projections)
        cams = self.network.evidence(features).detach().float().relu()
        signed = self.signed(projections.detach(), cams, target)
        division = self.network.division(features)
        known = sure_places(signed, self.config.sure)
        rise = math.exp(-10 * (1 - self.ramp(self.config.warmup)))
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), target),
            "directions": (left * alone).sum() / joint_mean(alone.sum()).clamp(min=EPSILON),
            "head": self.config.weight * rise * division_loss(division, known, target),
        }

    def signed(self, projections: Tensor, cams: Tensor, target: Tensor) -> Tensor:
        """Projections [B, C, h, w] with the sign that makes the side with the higher mean CAM positive; `sides` follows."""
        masks = torch.stack([projections > 0, projections < 0]).float()
        means = (masks * cams).sum(dim=(3, 4)) / masks.sum(dim=(3, 4)).clamp(min=EPSILON)
        counts = joint_mean(target.sum(dim=0))
        newest = joint_mean((means * target).sum(dim=1)) / counts.clamp(min=EPSILON)
        if self.training:
            self.sides.lerp_(newest.T, (1 - self.config.momentum) * (counts > 0).float()[:, None])
        return projections * torch.where(self.sides[:, 0] < self.sides[:, 1], -1.0, 1.0)[:, None, None]


class Known(NamedTuple):
    """Which places are objects and which are learnt from: both [B, C, h, w], 0 and 1."""

    objects: Tensor
    sure: Tensor


def normalised(features: Tensor) -> Tensor:
    """Features [B, D, h, w] less their mean and divided by their deviation over all places of the joint batch."""
    mean = joint_mean(features.mean(dim=(0, 2, 3)))[:, None, None]
    variance = joint_mean((features - mean).square().mean(dim=(0, 2, 3)))[:, None, None]
    return (features - mean) / (variance + EPSILON).sqrt()


def projected(places: Tensor, directions: Tensor) -> Tensor:
    """[B, C, h, w] of features [B, D, h, w] along directions [C, D], whose lengths do not count."""
    return torch.einsum("cd,bdhw->bchw", F.normalize(directions, dim=1), places)


def unexplained(places: Tensor, projections: Tensor) -> Tensor:
    """[B, C] in [0, 1]: the share of features' squares that projections [B, C, h, w] of features [B, D, h, w] leave."""
    return 1 - projections.square().sum(dim=(2, 3)) / places.square().sum(dim=(1, 2, 3))[:, None].clamp(min=EPSILON)


def sure_places(signed: Tensor, share: float) -> Known:
    """Where projections [B, C, h, w] are positive, and where they are above a share of the map's highest or lowest value."""
    highest = signed.amax(dim=(2, 3), keepdim=True).clamp(min=EPSILON)
    lowest = signed.amin(dim=(2, 3), keepdim=True).clamp(max=-EPSILON)
    relative = signed.relu() / highest + (-signed).relu() / lowest
    return Known((relative > 0).float(), (relative.abs() > share).float())


def division_loss(logits: Tensor, known: Known, target: Tensor) -> Tensor:
    """Binary cross-entropy at sure places of tags, summed over tags, a mean over all places and images; a scalar."""
    losses = F.binary_cross_entropy_with_logits(logits, known.objects, reduction="none") * known.sure
    return (losses.mean(dim=(2, 3)) * target).sum(dim=1).mean()
