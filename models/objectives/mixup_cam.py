"""Mixup-CAM: two images blended with their tags, and CAMs that decide for one class at each place and keep together.

Source  Chang et al., BMVC 2020, arXiv:2008.01201 (its abstract was read; there is no code of the authors): the classifier
        learns from blended images, of which each is a share from Beta(α, α), with tags blended in the same shares. Two terms
        make its CAM certain: the entropy of the class distribution at each place (a soft-max of the evidence), and
        concentration: how far from its centre of mass the map of a class reaches.
        Deviations and choices of this project: α is that of mixup (Zhang et al., ICLR 2018, arXiv:1710.09412: 0.1 to 0.4);
        both weights; concentration is the variance of each map of the blended tags in shares of the view, weighted by the tag.
"""

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives import Objective
from models.objectives._maps import EPSILON
from models.objectives._mixing import beta_shares, other_images


class Config(MethodConfig):
    """Knobs of `mixup_cam`."""

    alpha: float = Field(default=0.2, gt=0, le=10, description="of the distribution Beta(α, α) of the shares")
    entropy_weight: float = Field(default=0.02, ge=0, le=100, description="weight of the entropy of classes at a place")
    concentration_weight: float = Field(default=0.02, ge=0, le=100, description="weight of how far a map reaches")


class MixupCam(Objective):
    """The tag loss of blended images, and two terms of their maps."""

    config: Config
    share_multiple = 0  # it draws shares and blends images of the whole batch

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``entropy`` and ``concentration``."""
        images, target = batch["image"], batch["target"]
        share = beta_shares(len(images), self.config.alpha, images.device)
        other = other_images(len(images), images.device)
        blended = _blend(images, images[other], share[:, None, None, None])
        tags = _blend(target, target[other], share[:, None])
        features = self.network.activation(blended)
        evidence = self.network.evidence(features).float()
        return {
            "tags": multilabel_soft_margin(self.network.logits(features), tags),
            "entropy": self.config.entropy_weight * class_entropy(evidence),
            "concentration": self.config.concentration_weight * concentration(evidence, tags),
        }


def _blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """`share` of the first and the rest of the second."""
    return share * first + (1 - share) * second


def class_entropy(evidence: Tensor) -> Tensor:
    """Mean entropy, in nats, of the soft-max over classes at each position of evidence [B, C, h, w]; a scalar."""
    logarithms = evidence.log_softmax(dim=1)
    return -(logarithms.exp() * logarithms).sum(dim=1).mean()


def concentration(evidence: Tensor, tags: Tensor) -> Tensor:
    """Mean over images and classes of the spread of each map around its centre, weighted by tags [B, C]; a scalar.

    The spread of the positive part of evidence [B, C, h, w] is its variance in both directions, in shares of the view.
    """
    mass = evidence.relu()
    mass = mass / (mass.sum(dim=(2, 3), keepdim=True) + EPSILON)
    spread = mass.new_zeros(mass.shape[:2])
    for axis in (2, 3):
        along = mass.sum(dim=5 - axis)  # [B, C, cells of this axis]
        places = (torch.arange(mass.shape[axis], device=mass.device) + 0.5) / mass.shape[axis]
        centre = (along * places).sum(dim=2, keepdim=True)
        spread = spread + (along * (places - centre).square()).sum(dim=2)
    return (spread * tags).mean()
