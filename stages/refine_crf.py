"""Align each walk with the edges of its photograph: the pseudo-masks.

Reads   data/dataset          photographs of the training list
        data/walks            scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/walk_threshold   background threshold
        data/corrections      masks that a person drew; each replaces the computed mask of its image
Writes  data/masks            mask [H, W] uint8 palette PNG, 255 void; confidence [H/4, W/4] uint8, 255 is certain;
                              mean_confidence, void_share, agreement: float32 in [0, 1]; area [1 + C] float32: share
                              of each class id; source: refine_crf, or human with confidence and agreement of 1
        Where `scale` is below 1, the CRF runs on a smaller photograph and its probabilities are enlarged.
Source  Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644; from labels as in Ahn et al., CVPR 2019, arXiv:1904.05044.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from labelfactory.dataset.corrections import HUMAN, Correction, corrected_mask, read_corrections
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import DataError
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn, TextColumn
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import VOID, Mask
from labelfactory.settings.params import Section
from labelfactory.settings.registry import method_of
from labelfactory.settings.thresholds import read_thresholds, thresholds_digest
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.refinement import refined

CONFIDENCE_STRIDE = 4
"""The confidence of every fourth pixel is stored."""


class RefineCrfConfig(Section):
    """Section `refine_crf` of params.yaml."""

    moved = dict.fromkeys(("unary", "gt_prob", "crf"), "method")

    method: method_of("models.refinement") = Field(description="the refinement")  # type: ignore[valid-type]
    scale: float = Field(gt=0, le=1, description="scale of the photograph for the CRF and its kernels")
    min_confidence: float = Field(ge=0, le=1, description="void where the best probability is lower")


class RefineCrf(PerImageStage[RefineCrfConfig]):
    """Makes the pseudo-masks."""

    reads = ("dataset", "walks", "walk_threshold", "corrections")
    writes = "masks"
    reads_rows = ("walks",)
    columns = {
        "mask": MaskColumn(),
        "confidence": ArrayColumn("uint8"),
        "mean_confidence": NumberColumn(),
        "void_share": NumberColumn(),
        "agreement": NumberColumn(),
        "area": ArrayColumn("float32"),
        "source": TextColumn(),
    }
    uses_gpu = False

    def fixed(self) -> dict[str, str]:
        """The background's threshold."""
        return {"threshold": thresholds_digest(self.folder("walk_threshold"))}

    @cached_property
    def corrections(self) -> Mapping[str, Correction]:
        """Masks that a person drew, by image."""
        return read_corrections(self.folder("corrections"))

    def given(self, record: ImageRecord) -> dict[str, str] | None:
        """The digest of a correction that was drawn over this photograph."""
        correction = self.corrections.get(record.image_id)
        return {"correction": correction.digest} if correction is not None and correction.fits(record) else None

    def setup(self) -> None:
        """Read the threshold."""
        self.threshold = read_thresholds(self.folder("walk_threshold"))["background"].value

    def process(self, sample: Sample) -> Row:
        """The pseudo-mask of one photograph, and measures of its quality."""
        if self.given(sample.record) is not None:
            return self._corrected(sample.record)
        walk = sample.of("walks")
        result = refined(
            sample.photograph(),
            walk["scores"],
            walk["class_ids"],
            self.cfg.method,
            threshold=self.threshold,
            scale=self.cfg.scale,
            min_confidence=self.cfg.min_confidence,
        )
        confidence = result.probabilities.max(axis=0)
        return self._row(result.mask, confidence, agreement=result.agreement, source=self.stage_name())

    def _corrected(self, record: ImageRecord) -> Row:
        """The row of a mask that a person drew: confidence and agreement are 1."""
        mask = corrected_mask(self.corrections[record.image_id], self.sharded.classes, self.folder("corrections"))
        if mask.shape != (record.height, record.width):
            raise DataError(
                f"the correction is {mask.shape[1]}×{mask.shape[0]} pixels, its photograph {record.width}×{record.height}"
            )
        return self._row(mask, np.ones(mask.shape, dtype=np.float32), agreement=1.0, source=HUMAN)

    def _row(self, mask: Mask, confidence: NDArray[np.float32], *, agreement: float, source: str) -> Row:
        """The row of a mask, [H, W] uint8; `confidence` is [H, W] in [0, 1]."""
        counts = np.bincount(mask.ravel(), minlength=256)
        return {
            "mask": mask,
            "confidence": np.rint(confidence[::CONFIDENCE_STRIDE, ::CONFIDENCE_STRIDE] * 255).astype(np.uint8),
            "mean_confidence": confidence.mean(),
            "void_share": counts[VOID] / mask.size,
            "agreement": agreement,
            "area": (counts[: len(self.sharded.classes) + 1] / mask.size).astype(np.float32),
            "source": source,
        }

    def summary(self) -> dict[str, Any]:
        """The number of masks that a person drew."""
        sources = RowReader(self.output).values("source")
        return {"corrected": sum(source == HUMAN for source in sources.values())}


if __name__ == "__main__":
    main(RefineCrf)
