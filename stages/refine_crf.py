"""Draw each walk to the edges of its photograph: the pseudo-masks.

Reads   data/dataset          photographs of the training list
        data/walks            scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
        data/walk_threshold   the background's score
Writes  data/masks            mask [H, W] uint8 palette PNG, 255 void; confidence [H/4, W/4] uint8, 255 is certain;
                              mean_confidence, void_share, agreement: float32 in [0, 1]; area [1 + C] float32: share
                              of each class id
        Where `scale` is below 1, the CRF looks at a smaller photograph and its probabilities are enlarged.
Source  Krähenbühl & Koltun, NIPS 2011, arXiv:1210.5644; from labels as in Ahn et al., CVPR 2019, arXiv:1904.05044.
"""

from typing import Literal

import numpy as np
from pydantic import Field

from labelfactory.augment import shrink
from labelfactory.columns import ArrayColumn, MaskColumn, NumberColumn
from labelfactory.params import Section
from labelfactory.per_image import PerImageStage
from labelfactory.registry import load_method, method_of
from labelfactory.schema import VOID, labels_from_channels
from labelfactory.shards import Row, Sample
from labelfactory.thresholds import read_thresholds, thresholds_digest
from models.refinement.dense_crf import CrfConfig
from models.seeds import channels_above, scores_at_size

CONFIDENCE_STRIDE = 4
"""The stored confidence is that of every fourth pixel."""


class RefineCrfConfig(Section):
    """Section `refine_crf` of params.yaml."""

    method: method_of("models.refinement")  # type: ignore[valid-type]
    unary: Literal["labels", "scores"]  # what the CRF starts from
    scale: float = Field(gt=0, le=1)  # of the photograph that the CRF looks at
    gt_prob: float = Field(gt=0, lt=1)  # labels: how far the CRF trusts one
    min_confidence: float = Field(ge=0, le=1)  # void where the best probability is lower
    crf: CrfConfig


class RefineCrf(PerImageStage[RefineCrfConfig]):
    """Makes the pseudo-masks."""

    reads = ("dataset", "walks", "walk_threshold")
    writes = "masks"
    reads_rows = ("walks",)
    columns = {
        "mask": MaskColumn(),
        "confidence": ArrayColumn("uint8"),
        "mean_confidence": NumberColumn(),
        "void_share": NumberColumn(),
        "agreement": NumberColumn(),
        "area": ArrayColumn("float32"),
    }
    uses_gpu = False

    def fixed(self) -> dict[str, str]:
        """The background's threshold."""
        return {"threshold": thresholds_digest(self.folder("walk_threshold"))}

    def setup(self) -> None:
        """Read the threshold and find the method."""
        self.threshold = read_thresholds(self.folder("walk_threshold"))["background"].value
        self.method = load_method("models.refinement", self.cfg.method)
        self.crf = self.cfg.crf.scaled(self.cfg.scale)

    def process(self, sample: Sample) -> Row:
        """The pseudo-mask of one photograph, and how good it looks without a true one."""
        photograph = sample.photograph()
        image = shrink(photograph, self.cfg.scale)
        scores = scores_at_size(sample["scores"], image.shape[:2])
        labels = channels_above(scores, self.threshold)
        if self.cfg.unary == "labels":
            probabilities = self.method.refine_labels(
                image, labels, len(scores) + 1, gt_prob=self.cfg.gt_prob, config=self.crf
            )
        else:
            background = np.full((1, *image.shape[:2]), self.threshold, dtype=np.float32)
            probabilities = self.method.refine_scores(image, np.concatenate([background, scores]), config=self.crf)
        probabilities = scores_at_size(probabilities, photograph.shape[:2])
        walked = channels_above(scores_at_size(sample["scores"], photograph.shape[:2]), self.threshold)
        channels, confidence = probabilities.argmax(axis=0), probabilities.max(axis=0)
        mask = labels_from_channels(channels, sample["class_ids"])
        mask[confidence < self.cfg.min_confidence] = VOID
        counts = np.bincount(mask.ravel(), minlength=256)
        return {
            "mask": mask,
            "confidence": np.rint(confidence[::CONFIDENCE_STRIDE, ::CONFIDENCE_STRIDE] * 255).astype(np.uint8),
            "mean_confidence": confidence.mean(),
            "void_share": counts[VOID] / mask.size,
            "agreement": (channels == walked).mean(),
            "area": (counts[: len(self.dataset.classes) + 1] / mask.size).astype(np.float32),
        }


if __name__ == "__main__":
    RefineCrf.main()
