"""Shared by train_affinity and train_teacher: training on the affinity labels."""

from collections.abc import Mapping
from functools import cached_property
from typing import TypeVar

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.learning.training import TrainingSection
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from labelfactory.stage.training import TrainingStage

T = TypeVar("T", bound=TrainingSection)


class LabelledStage(TrainingStage[T]):
    """Trains on data/affinity_labels: label [h, w] uint8 over the whole photograph, 255 void."""

    supervision = "tags"

    @cached_property
    def labels(self) -> RowReader:
        """The confident labels."""
        return RowReader(self.folder("affinity_labels"))

    @cached_property
    def records(self) -> list[ImageRecord]:
        """Photographs with usable labels."""
        return [record for record in self.dataset.training if record.image_id in self.labels]

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each label."""
        return {record.image_id: self.labels.states[record.image_id].digest for record in self.records}

    def row_source(self, image_id: str) -> str:
        """Labels made by the line."""
        return "affinity_labels"

    def mask_of(self, record: ImageRecord) -> tuple[Mask, None]:
        """The labels of a photograph, without a trust map."""
        return self.labels[record.image_id]["label"], None
