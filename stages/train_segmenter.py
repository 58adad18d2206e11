"""Train the line's model on the pseudo-masks.

Reads   data/dataset     photographs of the training list
        data/classifier  passport; its backbone too if the segmenter starts from it
        data/affinity    passport
        data/teacher     passport, where there is one
        data/masks       mask [H, W] uint8, 255 void; source
Writes  data/segmenter   checkpoint.safetensors, training_rows.parquet, curve.csv; the checkpoint knows how far a picture is
                         from what was learnt
Source  DeepLab v2 arXiv:1606.00915, v3 arXiv:1706.05587, v3+ arXiv:1802.02611.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from torch import nn

from labelfactory.console import say
from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.devices import pick_device
from labelfactory.learning.checkpoints import Passport
from labelfactory.learning.examples import Trust
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from labelfactory.stage.runner import main
from models.distance import LEAST, TEXT, features_of, measure
from stages._segmenter import SegmenterSection, SegmenterStage

SAMPLE = 300
"""At most so many photographs are looked at once more for the distance."""


class TrainSegmenterConfig(SegmenterSection):
    """Section `train_segmenter` of params.yaml."""


class TrainSegmenter(SegmenterStage):
    """Trains on pseudo-masks."""

    section = TrainSegmenterConfig
    reads = ("dataset", "classifier", "affinity", "teacher", "masks")
    writes = "segmenter"
    supervision = "tags"

    @cached_property
    def masks(self) -> RowReader:
        """The pseudo-masks."""
        return RowReader(self.folder("masks"))

    def mask_of(self, record: ImageRecord) -> tuple[Mask, Trust | None]:
        """The pseudo-mask and its confidence."""
        row = self.masks[record.image_id]
        return row["mask"], row["confidence"] if self.objective.reads_trust(self.cfg.objective) else None

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each pseudo-mask."""
        return {record.image_id: self.masks.states[record.image_id].digest for record in self.records}

    @cached_property
    def sources(self) -> Mapping[str, str]:
        """The source of each mask: refine_crf or human."""
        return self.masks.values("source")

    def row_source(self, image_id: str) -> str:
        """refine_crf, or human for a mask that a person drew."""
        return self.sources[image_id]

    def label_kinds(self) -> set[str]:
        """Tags; also masks if a person drew some."""
        return {self.supervision} | ({"masks"} if HUMAN in self.sources.values() else set())

    def parents(self) -> dict[str, Passport]:
        """The networks that made the masks."""
        makers = ("classifier", "affinity", *(["teacher"] if self.has_checkpoint("teacher") else []))
        return {noun: self.passport_of(noun) for noun in makers}

    def texts(self, model: nn.Module) -> dict[str, str]:
        """How far a picture is from what was learnt; nothing if there are too few photographs to say."""
        chosen = np.unique(np.linspace(0, len(self.records) - 1, SAMPLE).round().astype(int))
        if len(chosen) < LEAST:
            return {}
        say(f"{self.stage_name()}: {len(chosen)} photographs once more, to tell pictures that are far from them")
        device = pick_device()
        model = model.to(device)
        distance = measure(features_of(model.backbone, (self.records[k].photograph() for k in chosen), device))
        model.to("cpu")
        return {} if distance is None else {TEXT: distance.to_text()}


if __name__ == "__main__":
    main(TrainSegmenter)
