"""Choose the background threshold of the walks without true masks: where they agree best with the affinity labels.

Reads   data/dataset          class names
        data/affinity_labels  label: mask [h, w] uint8 over the whole photograph, 255 void
        data/walks            scores [K, h, w] float16 in [0, 1], class_ids [K] uint8
Writes  data/walk_threshold   thresholds.json: background; agreement.csv: mIoU with the labels at each threshold
Source  docs/decisions/0006. The labels are confident where they are not void, so they show where the foreground ends.
"""

from pydantic import Field

from labelfactory.errors import DataError
from labelfactory.files import write_csv
from labelfactory.metrics import ThresholdCurve
from labelfactory.progress import progress
from labelfactory.rows.reader import RowReader
from labelfactory.schema import labels_from_channels
from labelfactory.settings.params import Section
from labelfactory.settings.thresholds import Chosen, Threshold
from labelfactory.stage.calibration import CalibrationStage
from labelfactory.stage.runner import main
from models.seeds import channels_above, scores_at_size

CURVE = "agreement.csv"


class CalibrateWalksConfig(Section):
    """Section `calibrate_walks` of params.yaml."""

    background: Chosen = Field(
        description="score below which a walk is background; `auto`: where walks agree best with the affinity labels"
    )


class CalibrateWalks(CalibrationStage[CalibrateWalksConfig]):
    """Chooses the threshold of the walks."""

    reads = ("dataset", "affinity_labels", "walks")
    writes = "walk_threshold"

    def choose(self) -> dict[str, Threshold]:
        """Choose the threshold if it is `auto`, else take it from params.yaml."""
        value = self.cfg.background
        return {"background": Threshold(self._agreed(), "auto") if value == "auto" else Threshold(value, "params")}

    def _agreed(self) -> float:
        """The threshold at which walks and affinity labels have the highest mIoU; void is not counted."""
        walks, labels = (RowReader(self.folder(noun)) for noun in ("walks", "affinity_labels"))
        records = [r for r in self.dataset.training if r.tags and r.image_id in walks and r.image_id in labels]
        if not records:
            raise DataError(
                "no training image has a tag to calibrate on", "Set calibrate_walks.background as a number."
            )
        curve = ThresholdCurve(len(self.dataset.classes) + 1)
        with progress("calibrate_walks", len(records)) as tick:
            for record in records:
                walk, label = walks[record.image_id], labels[record.image_id]["label"]
                scores = scores_at_size(walk["scores"], label.shape)
                best = labels_from_channels(channels_above(scores, 0.0), walk["class_ids"])
                curve.add(label, best, scores.max(axis=0))
                tick()
        if not curve.counts.any():
            raise DataError(
                "the affinity labels are void everywhere: nothing to calibrate on",
                "Set calibrate_walks.background as a number, or label_affinity's thresholds closer together.",
            )
        points = ((t, round(miou, 6)) for t, miou in zip(*curve.curve(), strict=True))
        write_csv(self.output / CURVE, ("threshold", "agreement"), points)
        return curve.best()[0]


if __name__ == "__main__":
    main(CalibrateWalks)
