"""Rows as large as CAMs of photographs, without a network.

Reads   data/dataset   images; no pixel is read
Writes  data/cams      cam [2, 94, 125] float16, class_ids [K] uint8: what a photograph of 500 × 375 with two tags gives
"""

import numpy as np

from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main

SHAPE = (2, 94, 125)


class ExtractCamsConfig(Section):
    """Section `extract_cams`."""

    seed: int


class ExtractCams(PerImageStage[ExtractCamsConfig]):
    """Cuts each row from one sheet of noise: at no cost, and as hard to compress as real maps."""

    reads = ("dataset",)
    writes = "cams"
    columns = {"cam": ArrayColumn("float16"), "class_ids": ArrayColumn("uint8")}
    uses_gpu = False

    def setup(self) -> None:
        """Draw the sheet."""
        self.sheet = np.random.default_rng(self.cfg.seed).random(2**20 + SHAPE[0] * SHAPE[1] * SHAPE[2])
        self.sheet = self.sheet.astype(np.float16)

    def process(self, sample: Sample) -> Row:
        """A piece of the sheet at a position given by the photograph's digest."""
        start = int(sample.record.sha256[:5], 16)
        cam = self.sheet[start : start + int(np.prod(SHAPE))].reshape(SHAPE)
        return {"cam": cam, "class_ids": self.sharded.classes.ids(sample.record.tags)}


if __name__ == "__main__":
    main(ExtractCams)
