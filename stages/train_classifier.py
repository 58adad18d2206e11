"""Learn to name what is in a photograph, from its tags alone.

Reads   data/dataset      photographs and tags of the training list; tags of the validation list for mAP
Writes  data/classifier   checkpoint.safetensors, training_rows.parquet, curve.csv
Source  Multi-label soft margin loss, multi-scale crops and mirror images as in Ahn & Kwak, CVPR 2018, arXiv:1803.10464.
        Deviations: AdamW or a correct SGD in place of their PolyOptimizer; frozen batch norm.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn

from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import pick_device
from labelfactory.learning.batches import Batch, Examples
from labelfactory.learning.examples import CropSection, TagExamples
from labelfactory.learning.training import TrainingSection
from labelfactory.metrics import average_precision
from labelfactory.progress import progress
from labelfactory.stage.runner import main
from labelfactory.stage.training import TrainingStage
from models.backbones._choice import BackboneSection, backbone_architecture, start_backbone
from models.classifier import Classifier
from models.grids import aligned_size, resize_images
from models.losses.multilabel_soft_margin import multilabel_soft_margin


class TrainClassifierConfig(TrainingSection, CropSection, BackboneSection):
    """Section `train_classifier` of params.yaml."""

    @model_validator(mode="after")
    def _starts_from_elsewhere(self) -> "TrainClassifierConfig":
        if self.from_classifier:
            raise ValueError("weights: this is the classifier itself; write package, random, or a path or URL")
        return self


class TrainClassifier(TrainingStage[TrainClassifierConfig]):
    """Trains the multi-label classifier."""

    reads = ("dataset",)
    writes = "classifier"
    supervision = "tags"

    def training_rows(self) -> Mapping[str, str]:
        """Each photograph of the training list with its tags."""
        return {record.image_id: record.digest for record in self.dataset.training}

    def row_source(self, image_id: str) -> str:
        """Tags."""
        return "tags"

    def foreign_supervision(self) -> list[str]:
        """What the backbone's weights have seen."""
        return self.cfg.supervision

    def allowed_supervision(self) -> list[str]:
        """What params.yaml allows."""
        return self.cfg.allow_supervision

    def architecture(self) -> dict[str, Any]:
        """Backbone and number of classes."""
        return {**backbone_architecture(self.cfg), "classes": len(self.dataset.classes)}

    def build(self) -> tuple[nn.Module, Sequence[Tensor]]:
        """The backbone under a fresh linear layer."""
        torch.manual_seed(self.cfg.seed)
        backbone = start_backbone(self.cfg)
        pretrained = list(backbone.parameters()) if self.cfg.weights != "random" else []
        return Classifier(backbone, len(self.dataset.classes)), pretrained

    def examples(self) -> Examples:
        """Random views of the training list."""
        return TagExamples(self.dataset.training, self.dataset.classes, self.cfg)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Multi-label soft margin."""
        return multilabel_soft_margin(model(batch["image"]), batch["target"])

    @torch.no_grad()
    def score(self, model: nn.Module) -> dict[str, float]:
        """Average precision of each tag on the validation list, and their mean."""
        name, classes = self.dataset.val_list, self.dataset.classes
        records = self.dataset.on_list(name)
        device = pick_device()
        model.to(device).eval()
        logits = np.zeros((len(records), len(classes)))
        with progress(f"mAP on {name}", len(records)) as tick:
            for i, record in enumerate(records):
                image = to_tensor(record.photograph())[None].to(device)
                size = aligned_size(*image.shape[-2:], stride=self.cfg.output_stride)
                logits[i] = model(resize_images(image, size))[0].float().cpu().numpy()
                tick()
        targets = np.stack([classes.multi_hot(record.tags) for record in records])
        each = {
            f"ap/{name}/{tag}": average_precision(targets[:, c] > 0.5, logits[:, c])
            for c, tag in enumerate(classes.names)
            if targets[:, c].any()
        }
        model.cpu()
        return {f"map/{name}": float(np.mean(list(each.values()))), **each} if each else {}


if __name__ == "__main__":
    main(TrainClassifier)
