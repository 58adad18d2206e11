"""CutMix: a box of another image is pasted in; tags mix with the areas, and maps as a mean teacher's do.

Source  Yun et al., ICCV 2019, arXiv:1905.04899, and the authors' code (clovaai/CutMix-PyTorch): a box of the image's form,
        whose area's share is from Beta(β, β), at a random place, comes from another image of the batch; the loss of both tags
        is weighted by the areas. French et al., BMVC 2020, arXiv:1906.01916, and their code (cutmix-semisup-seg): the
        prediction for the mixed image must be the mix of a mean teacher's predictions (decay 0.99) for both images; squared
        differences, summed over classes, a mean over places, of weight 1. β 1 as in the commands of the former.
        Deviations: the loss of the images themselves is kept; probabilities are each class's own, not a soft-max over classes
        and background; French's box always covers half of the image, and their loss is scaled by the share of places of which
        the teacher is sure, here it rises with the epochs.
"""

from typing import Any

from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._mixing import beta_shares, other_images, random_boxes
from models.objectives._schedule import ScheduledObjective
from models.objectives._teacher import MeanTeacher


class Config(MethodConfig):
    """Knobs of `cutmix`."""

    beta: float = Field(default=1.0, gt=0, le=10, description="of the distribution Beta(β, β) of the box's area")
    mixed_weight: float = Field(default=1.0, ge=0, le=100, description="weight of the mixed image's tags")
    weight: float = Field(default=1.0, ge=0, le=100, description="greatest weight of the distance to the teacher")
    ramp: float = Field(default=0.3, ge=0, le=1, description="share of the epochs over which it rises from 0")
    decay: float = Field(default=0.99, ge=0, lt=1, description="share of the teacher's weights that a step keeps")


class CutMix(ScheduledObjective):
    """Tag losses of images and mixed images, and the distance of the mixed image's maps to the teacher's."""

    config: Config
    share_multiple = 0  # it draws boxes, and mixes images of the whole batch

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.teacher = MeanTeacher(network)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``mixed`` and ``teacher``."""
        images, target = batch["image"], batch["target"]
        if self.training:
            self.teacher.follow(self.network, self.config.decay)
        other = other_images(len(images), images.device)
        shares = beta_shares(len(images), self.config.beta, images.device)
        boxes = random_boxes(shares, (images.shape[2], images.shape[3]))
        mixed = images + (images[other] - images) * boxes
        area = boxes.mean(dim=(1, 2, 3))[:, None]
        tags = target + (target[other] - target) * area
        features = self.network.activation(mixed)
        evidence = self.network.evidence(features).float()
        expected = self.teacher.probabilities(images)
        stride = self.network.backbone.output_stride
        inside = boxes[..., ::stride, ::stride]  # at the pixel that a cell is centred on
        expected = expected + (expected[other] - expected) * inside
        distance = (evidence.sigmoid() - expected).square().sum(dim=1).mean()
        return {
            "tags": multilabel_soft_margin(self.network(images), target),
            "mixed": self.config.mixed_weight * multilabel_soft_margin(self.network.logits(features), tags),
            "teacher": self.config.weight * self.ramp(self.config.ramp) * distance,
        }
