"""Choose the walks' background threshold, without a true mask.

Reads   data/dataset          photographs and tags of the training list
        data/classifier       checkpoint
        data/walks            scores [K, h, w] float16 in [0, 1]
Writes  data/walk_threshold   thresholds.json: background; j.csv
Source  docs/decisions/0006.
"""

from typing import Any

from pydantic import field_validator

from labelfactory.rows import RowReader
from labelfactory.stage import Stage
from labelfactory.thresholds import Threshold, write_thresholds
from stages._calibration import CalibrationSection, Chosen, choose


class CalibrateWalksConfig(CalibrationSection):
    """Section `calibrate_walks` of params.yaml."""

    background: Chosen  # auto, or a number in [0, 1]

    @field_validator("background")
    @classmethod
    def _in_range(cls, value: Chosen) -> Chosen:
        if value != "auto" and not 0 <= value <= 1:
            raise ValueError(f"a threshold must lie in [0, 1], not {value}")
        return value


class CalibrateWalks(Stage[CalibrateWalksConfig]):
    """Chooses the threshold of the walks."""

    reads = ("dataset", "classifier", "walks")
    writes = "walk_threshold"

    def run(self) -> dict[str, Any]:
        """Choose it, or take it from params.yaml."""
        value = self.cfg.background
        if value == "auto":
            rows = RowReader(self.folder("walks"))
            chosen = choose(rows, "scores", self.dataset, self.cfg, self.output / "j.csv")
            threshold = Threshold(chosen, "auto")
        else:
            threshold = Threshold(value, "params")
        write_thresholds(self.output, {"background": threshold})
        return {"background": threshold.value}


if __name__ == "__main__":
    CalibrateWalks.main()
