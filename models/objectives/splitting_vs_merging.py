"""Splitting vs. merging: two branches first learn to look at different parts of an object, then at the same, larger one.

Source  Zhang et al., ECCV 2020, "Splitting vs. Merging: Mining Object Regions with Discrepancy and Intersection Loss" (no arXiv
        id; its abstract was read): a discrepancy loss makes maps differ, so that regions of different patterns are mined; an
        intersection loss mines what is common to different maps; together they expand the map to the scale of the object.
        The rest is ours: the maps are those of the linear layer and of a second branch on the same features; both losses
        are the overlap of the two maps of a tag, the sum over places of the lower by that of the higher, which is pushed
        down in a first part of the training and up to 1 in a later one; they are of probabilities, since maps after ReLU that
        lie wholly apart would have no gradient to come together by; the map is the higher of both; all settings.
"""

from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor

from labelfactory.learning.learner import Batch, Terms
from labelfactory.learning.ranks import joint_mean
from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone
from models.losses.multilabel_soft_margin import multilabel_soft_margin
from models.objectives._branches import TwoBranchClassifier
from models.objectives._maps import EPSILON
from models.objectives._schedule import ScheduledObjective


class Config(MethodConfig):
    """Knobs of `splitting_vs_merging`."""

    split_from: float = Field(default=0.25, ge=0, lt=1, description="share of the epochs on tags alone")
    merge_from: float = Field(
        default=0.6, gt=0, lt=1, description="share of the epochs after which maps are brought together"
    )
    split_weight: float = Field(default=0.5, gt=0, le=100, description="weight of the discrepancy loss")
    merge_weight: float = Field(default=0.5, gt=0, le=100, description="weight of the intersection loss")
    width: int = Field(default=256, ge=1, le=4096, description="channels of the second branch")

    @model_validator(mode="after")
    def _ordered(self) -> "Config":
        if self.split_from >= self.merge_from:
            raise ValueError("split_from must be below merge_from")
        return self


class SplittingClassifier(TwoBranchClassifier):
    """A classifier with a second branch on the same features."""

    def changed(self, features: Tensor, attention: Tensor) -> Tensor:
        """The features as they are."""
        return features


class SplittingVsMerging(ScheduledObjective):
    """The tag losses of both branches, and what drives their maps apart and together."""

    network: SplittingClassifier
    config: Config

    @staticmethod
    def build_network(backbone: Backbone, n_classes: int, config: Any) -> SplittingClassifier:
        """The classifier with its second branch."""
        return SplittingClassifier(backbone, n_classes, config.width)

    def forward(self, batch: Batch) -> Terms:
        """Terms ``tags``, ``second``, ``discrepancy`` and ``intersection``; each of the latter two is 0 outside of its part."""
        network, target = self.network, batch["target"]
        features = network.activation(batch["image"])
        first, second = network.evidence(features).float(), network.branch(features).float()
        shared = tagged_overlap(first.sigmoid(), second.sigmoid(), target)
        terms = {
            "tags": multilabel_soft_margin(network.logits(features), target),
            "second": multilabel_soft_margin(second.mean(dim=(2, 3)), target),
            "discrepancy": torch.zeros_like(shared),
            "intersection": torch.zeros_like(shared),
        }
        if self.started(self.config.merge_from):
            tagged = target.sum() / joint_mean(target.sum()).clamp(min=EPSILON)
            terms["intersection"] = self.config.merge_weight * (tagged - shared)
        elif self.started(self.config.split_from):
            terms["discrepancy"] = self.config.split_weight * shared
        return terms


def tagged_overlap(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """Mean over the tags of the joint batch of the overlap of two maps: Σ min / Σ max over places; a scalar in [0, 1].

    Args:
        first: [B, C, h, w] ≥ 0.
        second: of the same shape; two empty maps overlap by 0.
        target: [B, C] of 0 and 1.
    """
    lower, higher = (extreme(first, second).sum(dim=(2, 3)) for extreme in (torch.minimum, torch.maximum))
    overlaps = lower / higher.clamp(min=EPSILON)
    return (overlaps * target).sum() / joint_mean(target.sum()).clamp(min=EPSILON)
