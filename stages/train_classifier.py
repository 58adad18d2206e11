"""Train the multi-label classifier on tags.

Reads   data/dataset      photographs and tags of the training list; tags of the validation list for mAP
Writes  data/classifier   checkpoint.safetensors, training_rows.parquet, curve.csv
Source  Multi-label soft margin loss, multi-scale crops and mirror images as in Ahn & Kwak, CVPR 2018, arXiv:1803.10464.
        Deviations: AdamW or a correct SGD in place of their PolyOptimizer; frozen batch norm.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import pick_device
from labelfactory.digests import digest_json
from labelfactory.learning.batches import batches_in_epoch
from labelfactory.learning.examples import CropSection, TagExamples
from labelfactory.learning.learner import Learner
from labelfactory.learning.training import TrainingSection
from labelfactory.metrics import average_precision
from labelfactory.progress import progress
from labelfactory.rows.reader import RowReader
from labelfactory.settings.registry import method_of
from labelfactory.stage.runner import main
from labelfactory.stage.training import TrainingStage
from models.backbones._choice import BackboneSection, backbone_architecture, start_backbone
from models.grids import aligned_size, resize_images
from models.objectives import Objective


class TrainClassifierConfig(TrainingSection, CropSection, BackboneSection):
    """Section `train_classifier` of params.yaml."""

    objective: method_of("models.objectives") = Field(description="how it learns from tags")  # type: ignore[valid-type]

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

    @property
    def objective(self) -> type[Objective]:
        """The class of the objective."""
        return self.cfg.objective.subclass_of(Objective)

    @cached_property
    def rows_read(self) -> dict[str, RowReader]:
        """Rows that the objective reads beside the tags, by noun."""
        return {noun: RowReader(self.folder(noun)) for noun in self.objective.reads}

    @cached_property
    def records(self) -> list[ImageRecord]:
        """Photographs of the training list with every row that the objective reads."""
        return [r for r in self.dataset.training if all(r.image_id in rows for rows in self.rows_read.values())]

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each photograph with its tags, and of the rows that the objective reads."""
        if not self.rows_read:
            return {record.image_id: record.digest for record in self.records}
        return {
            r.image_id: digest_json([r.digest, *(rows.states[r.image_id].digest for rows in self.rows_read.values())])
            for r in self.records
        }

    def label_kinds(self) -> set[str]:
        """Tags, what the objective needs beside them, and the supervision of the rows that it reads."""
        of_rows = {
            kind
            for rows in self.rows_read.values()
            for kinds in rows.values("supervision").values()
            for kind in kinds.split()
        }
        return {self.supervision, *self.objective.supervision, *of_rows}

    def row_source(self, image_id: str) -> str:
        """Tags."""
        return "tags"

    def foreign_supervision(self) -> list[str]:
        """Kinds of labels that the backbone's weights have seen."""
        return self.cfg.supervision

    def allowed_supervision(self) -> list[str]:
        """The section's `allow_supervision`."""
        return self.cfg.allow_supervision

    def architecture(self) -> dict[str, Any]:
        """Backbone and number of classes."""
        return {
            **backbone_architecture(self.cfg),
            "objective": self.cfg.objective.model_dump(mode="json"),
            "classes": len(self.dataset.classes),
        }

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        """The backbone under a new head, in its objective."""
        torch.manual_seed(self.cfg.seed)
        backbone = start_backbone(self.cfg)
        pretrained = backbone.published_parameters() if self.cfg.weights != "random" else []
        network = self.objective.build_network(backbone, len(self.dataset.classes), self.cfg.objective)
        examples = self.examples()
        epochs = self.cfg.epochs_of(batches_in_epoch(len(examples), self.cfg.batch_size))
        return self.objective(network, self.cfg.objective, targets=examples.targets, epochs=epochs), pretrained

    def examples(self) -> TagExamples:
        """Random crops of the training list."""
        maps = {noun: partial(_map_of, rows) for noun, rows in self.rows_read.items()}
        return TagExamples(self.records, self.dataset.classes, self.cfg, maps)

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


def _map_of(rows: RowReader, record: ImageRecord) -> NDArray[np.uint8]:
    """The map of a photograph: the column `map` of its row."""
    values: NDArray[np.uint8] = rows[record.image_id]["map"]
    return values


if __name__ == "__main__":
    main(TrainClassifier)
