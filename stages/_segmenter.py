"""What the stages train_segmenter and train_upper_bound share: one net, one schedule, one loss, other masks."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import ParamsError
from labelfactory.learning.batches import Batch, Examples
from labelfactory.learning.examples import CropSection, MaskExamples, Trust
from labelfactory.learning.training import TrainingSection
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from labelfactory.settings.registry import method_of
from labelfactory.stage.training import TrainingStage
from models.backbones import Backbone
from models.backbones._choice import BackboneSection, backbone_architecture, rebuild_backbone, start_backbone
from models.classifier import classifier_from
from models.grids import resample
from models.losses.cross_entropy import cross_entropy
from models.segmenters import build_segmenter


class SegmenterSection(TrainingSection, CropSection, BackboneSection):
    """How a segmenter is built and trained."""

    net: method_of("models.segmenters")  # type: ignore[valid-type]
    width: int = Field(ge=16, le=1024)  # channels of the net's head
    rates: tuple[Annotated[int, Field(ge=1, le=64)], ...] = Field(min_length=1)  # dilations of its parallel branches
    confidence_weights: bool  # weigh each pixel's loss by the confidence of its pseudo-mask
    ema_decay: float = Field(ge=0, lt=1)  # moving average of the weights; 0 for none


class SegmenterStage(TrainingStage[SegmenterSection]):
    """Trains a segmenter on masks; a subclass says which."""

    @cached_property
    def records(self) -> list[ImageRecord]:
        """Photographs that have a usable pseudo-mask; the upper bound learns from the same."""
        rows = RowReader(self.folder("masks"))
        return [record for record in self.dataset.training if record.image_id in rows]

    def mask_of(self, record: ImageRecord) -> tuple[Mask, Trust | None]:
        """The mask that is learnt, [H, W] uint8, 255 void, and how far each place is trusted."""
        raise NotImplementedError

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each mask."""
        raise NotImplementedError

    def foreign_supervision(self) -> list[str]:
        """What the backbone's weights have seen."""
        return self.cfg.supervision

    def allowed_supervision(self) -> list[str]:
        """What params.yaml allows."""
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
            "net": self.cfg.net,
            "width": self.cfg.width,
            "rates": list(self.cfg.rates),
            "classes": len(self.dataset.classes) + 1,
        }

    def build(self) -> tuple[nn.Module, Sequence[Tensor]]:
        """The backbone under a fresh head."""
        torch.manual_seed(self.cfg.seed)
        backbone = self._classifier_backbone() if self.cfg.from_classifier else start_backbone(self.cfg)
        pretrained = list(backbone.parameters()) if self.cfg.weights != "random" else []
        return build_segmenter(backbone, self.architecture()), pretrained

    def _classifier_backbone(self) -> Backbone:
        """That of the classifier, at this net's output stride."""
        state, passport = self.checkpoint_of("classifier")
        if passport.architecture["backbone"] != self.cfg.backbone:
            raise ParamsError(
                f"train_segmenter.backbone is {self.cfg.backbone}, the classifier's {passport.architecture['backbone']}",
                "With weights: classifier both must be the same; mend params.yaml.",
            )
        backbone = rebuild_backbone(self.architecture())
        backbone.load_state_dict(classifier_from(passport.architecture, state).backbone.state_dict())
        backbone.freeze(self.cfg.freeze_stages)
        return backbone

    def examples(self) -> Examples:
        """Random views of photographs and masks."""
        return MaskExamples(self.records, self.mask_of, self.cfg)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Cross-entropy; void pixels are in no loss."""
        images, masks = batch["image"], batch["mask"]
        size = (images.shape[-2], images.shape[-1])
        logits = resample(model(images), stride=self.net_stride(model), image_size=size, size=size)
        return cross_entropy(logits, masks, batch["trust"])

    @staticmethod
    def net_stride(model: nn.Module) -> int:
        """Stride of the net's logits."""
        stride: int = model.stride  # type: ignore[assignment]
        return stride
