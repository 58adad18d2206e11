"""Shared by train_segmenter, train_teacher and train_upper_bound: one net, one schedule, one loss, different masks."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.learning.batches import Examples
from labelfactory.learning.examples import CropSection, MaskExamples, Trust
from labelfactory.learning.learner import Learner
from labelfactory.learning.training import TrainingSection
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from labelfactory.settings.registry import method_of
from labelfactory.stage.preflight import check_same_network
from labelfactory.stage.training import TrainingStage
from models.backbones import Backbone
from models.backbones._choice import BackboneSection, backbone_architecture, parts_of, rebuild_backbone, start_backbone
from models.classifier import classifier_from
from models.mask_objectives import MaskObjective
from models.segmenters import build_segmenter


class SegmenterSection(TrainingSection, CropSection, BackboneSection):
    """How a segmenter is built and trained."""

    moved = {"width": "net", "rates": "net", "confidence_weights": "objective"}

    net: method_of("models.segmenters") = Field(description="the net")  # type: ignore[valid-type]
    objective: method_of("models.mask_objectives") = Field(
        default="cross_entropy", validate_default=True, description="how it learns from noisy masks"
    )  # type: ignore[valid-type]
    ema_decay: float = Field(ge=0, lt=1, description="moving average of the weights; 0 for none")


class SegmenterStage(TrainingStage[SegmenterSection]):
    """Trains a segmenter on the masks that a subclass names."""

    @cached_property
    def records(self) -> list[ImageRecord]:
        """Photographs with a usable pseudo-mask, also for the upper bound."""
        rows = RowReader(self.folder("masks"))
        return [record for record in self.dataset.training if record.image_id in rows]

    def mask_of(self, record: ImageRecord) -> tuple[Mask, Trust | None]:
        """The training mask, [H, W] uint8, 255 void, and its trust map or None."""
        raise NotImplementedError

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each mask."""
        raise NotImplementedError

    def foreign_supervision(self) -> list[str]:
        """Kinds of labels that the backbone's weights have seen."""
        return self.cfg.supervision

    def allowed_supervision(self) -> list[str]:
        """The section's `allow_supervision`."""
        return self.cfg.allow_supervision

    def ema_decay(self) -> float:
        """Moving average of the weights."""
        return self.cfg.ema_decay

    def architecture(self) -> dict[str, Any]:
        """Backbone, head and number of classes."""
        backbone = backbone_architecture(self.cfg)
        if self.cfg.from_classifier:
            backbone["folded"] = True
        return {
            **backbone,
            "net": self.cfg.net.model_dump(mode="json"),
            "classes": len(self.dataset.classes) + 1,
        }

    @property
    def objective(self) -> type[MaskObjective]:
        """The class of the mask objective."""
        return self.cfg.objective.subclass_of(MaskObjective)

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        """The backbone under a new head, in its objective."""
        torch.manual_seed(self.cfg.seed)
        if self.cfg.from_classifier:
            backbone = self._classifier_backbone()
            pretrained = list(backbone.parameters())  # its blocks have learnt too
        else:
            backbone = start_backbone(self.cfg)
            pretrained = backbone.published_parameters() if self.cfg.weights != "random" else []
        return self.objective(build_segmenter(backbone, self.architecture()), self.cfg.objective), pretrained

    def _classifier_backbone(self) -> Backbone:
        """The classifier's backbone at this net's output stride."""
        state, passport = self.checkpoint_of("classifier")
        check_same_network(self.cfg.parts, parts_of(passport.architecture))
        backbone = rebuild_backbone(self.architecture())
        backbone.load_state_dict(classifier_from(passport.architecture, state).backbone.state_dict())
        backbone.freeze(self.cfg.freeze_stages)
        return backbone

    def examples(self) -> Examples:
        """Random crops of photographs and masks."""
        return MaskExamples(self.records, self.mask_of, self.cfg)
