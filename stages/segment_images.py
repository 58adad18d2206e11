"""Segment photographs with the trained segmenter, once for the quality of masks, scores, exports and pages.

Reads   data/dataset       photographs of the training list, those of which `evaluate` scores the prediction, and those of
                           `lists`; of true masks only whether the import names one
        data/segmenter     checkpoint
Writes  data/predictions   mask [H, W] uint8 palette PNG, never void; class_ids [K] uint8: the background, the image's tags and
                           the classes in the mask; probabilities [K, H/4, W/4] uint8 of these in steps of 3, 255 is certain;
                           mean_confidence float32 in [0, 1]; class_confidence [1 + C] float32: mean probability of each
                           class id over its pixels in the mask, 0 without any; area [1 + C] float32: share of each class id
"""

from typing import Any

import numpy as np
from pydantic import Field

from labelfactory.dataset.prepared import Chosen
from labelfactory.dataset.tensors import to_tensor
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn
from labelfactory.rows.predicted import INFERENCE
from labelfactory.rows.shards import Row, Sample
from labelfactory.schema import BACKGROUND
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main
from models.segmenters import segmenter_from
from models.segmenters._whole_photograph import Inference, best_of, probabilities_of

STRIDE = 4
"""The probabilities of every fourth pixel are stored."""
STEPS = 85
"""They are rounded to that many steps, three of 255 each: half the bytes of 255 steps, and no worse for a soft IoU."""


class SegmentImagesConfig(Section):
    """Section `segment_images` of params.yaml; scales, flip and precision are those of `evaluate`."""

    # which photographs, not what is made of one
    speed_only = frozenset({"lists"})

    lists: tuple[str, ...] = Field(
        default=(),
        description="lists of which every photograph is segmented, beside the training list and what `evaluate` scores; scales, "
        "flip and precision are those of `evaluate`",
    )


class SegmentImages(PerImageStage[SegmentImagesConfig]):
    """Makes the predictions of the line's model."""

    reads = ("dataset", "segmenter")
    writes = "predictions"
    borrows = ("prepare", "evaluate")
    columns = {
        "mask": MaskColumn(),
        "class_ids": ArrayColumn("uint8"),
        "probabilities": ArrayColumn("uint8"),
        "mean_confidence": NumberColumn(),
        "class_confidence": ArrayColumn("float32"),
        "area": ArrayColumn("float32"),
    }

    @property
    def inference(self) -> Inference:
        """How `evaluate` runs networks."""
        cfg: Any = self.borrowed["evaluate"]
        return Inference(cfg.scales, cfg.flip, cfg.precision)

    @property
    def chosen(self) -> Chosen:
        """The photographs of the training list, those of `lists`, and those that `evaluate` scores."""
        prepare: Any = self.borrowed["prepare"]
        evaluate: Any = self.borrowed["evaluate"]
        return Chosen(lists=(prepare.train_list, *self.cfg.lists), scored=evaluate.lists)

    def fixed(self) -> dict[str, str]:
        """The segmenter, and how it is run."""
        return {"segmenter": self.passport_of("segmenter").weights_digest, INFERENCE: self.inference.digest}

    def setup(self) -> None:
        """Load the segmenter."""
        state, passport = self.checkpoint_of("segmenter")
        self.segmenter = segmenter_from(passport.architecture, state).to(self.device)

    def process(self, sample: Sample) -> Row:
        """The prediction of one photograph."""
        predicted = probabilities_of(self.segmenter, to_tensor(sample.photograph()), self.inference)
        labels, best = best_of(predicted)
        mask, n_classes = labels.cpu().numpy(), len(self.sharded.classes) + 1
        counts = np.bincount(mask.ravel(), minlength=n_classes)
        sums = np.bincount(mask.ravel(), weights=best.cpu().numpy().ravel(), minlength=n_classes)
        shown = {BACKGROUND, *map(int, self.sharded.classes.ids(sample.record.tags)), *map(int, np.flatnonzero(counts))}
        stored = predicted[sorted(shown), ::STRIDE, ::STRIDE].cpu().numpy()
        return {
            "mask": mask,
            "class_ids": np.array(sorted(shown), dtype=np.uint8),
            "probabilities": np.rint(stored * STEPS).astype(np.uint8) * np.uint8(255 // STEPS),
            "mean_confidence": float(best.mean()),
            "class_confidence": (sums / np.maximum(counts, 1)).astype(np.float32),
            "area": (counts / mask.size).astype(np.float32),
        }


if __name__ == "__main__":
    main(SegmentImages)
