"""Rows as large as masks of photographs, without a CRF.

Reads   data/dataset, data/cams
Writes  data/masks     the columns of the real stage; the mask is the thumbnail's, the confidence a photograph's
"""

import numpy as np

from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main


class RefineCrfConfig(Section):
    """Section `refine_crf`."""

    level: float


class RefineCrf(PerImageStage[RefineCrfConfig]):
    """Turns a corner of each CAM into a mask."""

    reads = ("dataset", "cams")
    reads_rows = ("cams",)
    writes = "masks"
    columns = {
        "mask": MaskColumn(),
        "confidence": ArrayColumn("uint8"),
        "mean_confidence": NumberColumn(),
        "void_share": NumberColumn(),
        "agreement": NumberColumn(),
        "area": ArrayColumn("float32"),
    }
    uses_gpu = False

    def process(self, sample: Sample) -> Row:
        """A band of one class whose height is given by the CAM."""
        cams, record = sample.of("cams"), sample.record
        cam = cams["cam"]
        mask = np.zeros((record.height, record.width), np.uint8)
        mask[: int(cam[0, 0, 0] * record.height)] = [*cams["class_ids"], 0][0]  # a photograph may have no tag
        return {
            "mask": mask,
            "confidence": (cam[0] * 255).astype(np.uint8),
            "mean_confidence": 0.5,
            "void_share": 0.0,
            "agreement": 0.5,
            "area": np.zeros(3, np.float32),
        }


if __name__ == "__main__":
    main(RefineCrf)
