"""Train AffinityNet: which neighbouring cells belong to one object.

Reads   data/dataset           photographs of the training list
        data/classifier        checkpoint: the backbone starts from it
        data/affinity_labels   label: mask, 255 void
Writes  data/affinity          checkpoint.safetensors, training_rows.parquet, curve.csv
Source  AffinityNet: Ahn & Kwak, CVPR 2018, arXiv:1803.10464. Without `learn_backbone` the classifier's backbone is frozen,
        as in IRN, arXiv:1904.05044.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.learning.batches import Examples
from labelfactory.learning.checkpoints import Passport
from labelfactory.learning.examples import CropSection, MaskExamples
from labelfactory.learning.learner import Learner, LossLearner
from labelfactory.learning.training import TrainingSection
from labelfactory.settings.registry import method_of
from labelfactory.stage.runner import main
from models.backbones._choice import parts_of
from models.classifier import classifier_from
from stages._labelled import LabelledStage


class TrainAffinityConfig(TrainingSection, CropSection):
    """Section `train_affinity` of params.yaml."""

    moved = dict.fromkeys(("radius", "depths", "width"), "method")

    method: method_of("models.affinity") = Field(
        default="psa", validate_default=True, description="the affinity network and its loss"
    )  # type: ignore[valid-type]
    learn_backbone: bool = Field(description="whether the classifier's backbone learns on")
    freeze_stages: int = Field(ge=0, le=8, description="stages after the stem that are frozen even if it learns on")


class TrainAffinity(LabelledStage[TrainAffinityConfig]):
    """Trains AffinityNet on the confident labels."""

    reads = ("dataset", "classifier", "affinity_labels")
    writes = "affinity"

    def parents(self) -> dict[str, Passport]:
        """The classifier."""
        return {"classifier": self.passport_of("classifier")}

    def architecture(self) -> dict[str, Any]:
        """The classifier's backbone and the head's sizes."""
        backbone = self.passport_of("classifier").architecture
        return {
            **parts_of(backbone),
            "output_stride": backbone["output_stride"],
            "folded": True,
            "affinity": self.cfg.method.model_dump(mode="json"),
        }

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        """The classifier's backbone under a new head, and the method's loss."""
        torch.manual_seed(self.cfg.seed)
        state, passport = self.checkpoint_of("classifier")
        backbone = classifier_from(passport.architecture, state).backbone
        if self.cfg.learn_backbone:
            backbone.freeze(self.cfg.freeze_stages)
        network = self.cfg.method.bind("build")(backbone, learn_backbone=self.cfg.learn_backbone)
        return LossLearner(network, self.cfg.method.bind("loss")), list(backbone.parameters())

    def examples(self) -> Examples:
        """Random crops of photographs and labels."""
        return MaskExamples(self.records, self.mask_of, self.cfg)


if __name__ == "__main__":
    main(TrainAffinity)
