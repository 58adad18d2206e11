"""Learn which neighbouring cells belong to one object.

Reads   data/dataset           photographs of the training list
        data/classifier        checkpoint: the backbone starts from it
        data/affinity_labels   label: mask, 255 void
Writes  data/affinity          checkpoint.safetensors, training_rows.parquet, curve.csv
Source  AffinityNet: Ahn & Kwak, CVPR 2018, arXiv:1803.10464. Where `learn_backbone` is off, the classifier's backbone
        does not learn on, as in IRN, arXiv:1904.05044.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.learning.batches import Batch, Examples
from labelfactory.learning.checkpoints import Passport
from labelfactory.learning.examples import CropSection, MaskExamples
from labelfactory.learning.training import TrainingSection
from labelfactory.stage.runner import main
from models.affinity._network import AffinityNetwork
from models.affinity.psa import GROUPS, pair_affinities, pair_offsets
from models.classifier import classifier_from
from models.losses.affinity import affinity_loss
from stages._labelled import LabelledStage

STRIDE = 8
"""Of the cells whose affinity is learnt."""
Depth = Annotated[int, Field(ge=GROUPS, le=1024, multiple_of=GROUPS)]


class TrainAffinityConfig(TrainingSection, CropSection):
    """Section `train_affinity` of params.yaml."""

    radius: int = Field(ge=2, le=16)  # pairs nearer than this many cells
    depths: tuple[Depth, Depth, Depth]  # channels from each of three depths
    width: int = Field(ge=8, le=1024)  # channels in which cells are compared
    learn_backbone: bool  # whether the classifier's backbone learns on
    freeze_stages: int = Field(ge=0, le=8)  # of it, stages after the stem that do not


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
            **{name: backbone[name] for name in ("backbone", "output_stride")},
            "folded": True,
            "depths": list(self.cfg.depths),
            "width": self.cfg.width,
        }

    def build(self) -> tuple[nn.Module, Sequence[Tensor]]:
        """The classifier's backbone under a fresh head."""
        torch.manual_seed(self.cfg.seed)
        state, passport = self.checkpoint_of("classifier")
        backbone = classifier_from(passport.architecture, state).backbone
        if self.cfg.learn_backbone:
            backbone.freeze(self.cfg.freeze_stages)
        net = AffinityNetwork(
            backbone, depths=self.cfg.depths, width=self.cfg.width, learn_backbone=self.cfg.learn_backbone
        )
        return net, list(backbone.parameters())

    def examples(self) -> Examples:
        """Random views of photographs and labels."""
        return MaskExamples(self.records, self.mask_of, self.cfg)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The balanced loss over pairs of cells."""
        offsets = pair_offsets(self.cfg.radius)
        features = model(batch["image"])
        cells = batch["mask"][:, ::STRIDE, ::STRIDE]
        return affinity_loss(pair_affinities(features, offsets), cells, offsets)


if __name__ == "__main__":
    main(TrainAffinity)
