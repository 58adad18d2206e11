"""Cross-entropy over the pixels that have a class; as in DeepLab, arXiv:1606.00915."""

from typing import Any

from pydantic import Field

from labelfactory.learning.learner import Batch, Terms
from labelfactory.settings.registry import MethodConfig
from models.losses.cross_entropy import cross_entropy
from models.mask_objectives import MaskObjective


class Config(MethodConfig):
    """Knobs of `cross_entropy`."""

    confidence_weights: bool = Field(
        default=False, description="weight each pixel's loss by the confidence of its pseudo-mask"
    )


class CrossEntropy(MaskObjective):
    """The mean over the pixels that are not void."""

    @staticmethod
    def reads_trust(config: Any) -> bool:
        """Whether pixels are weighted by confidence."""
        return bool(config.confidence_weights)

    def forward(self, batch: Batch) -> Terms:
        """The weighted cross-entropy."""
        return {"cross_entropy": cross_entropy(self.logits(batch["image"]), batch["mask"], batch["trust"])}
