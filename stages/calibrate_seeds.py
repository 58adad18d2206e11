"""Choose the seeds' background threshold and the two of the affinity labels, without a true mask.

Reads   data/dataset           photographs and tags of the training list
        data/classifier        checkpoint
        data/cams              cam [K, h, w] float16 in [0, 1]
Writes  data/seed_thresholds   thresholds.json: background, affinity_foreground, affinity_background; j.csv
Source  docs/decisions/0006. A stage of its own, so that every row may cite the numbers, and --no-retrain freezes them.
"""

from typing import Any

from pydantic import Field, model_validator

from labelfactory.rows import RowReader
from labelfactory.stage import Stage
from labelfactory.thresholds import Chosen, Threshold, check_chosen, write_thresholds
from stages._calibration import CalibrationSection, choose


class CalibrateSeedsConfig(CalibrationSection):
    """Section `calibrate_seeds` of params.yaml."""

    background: Chosen  # auto, or a number in [0, 1]
    affinity_foreground: Chosen  # auto: background + margin
    affinity_background: Chosen  # auto: background - margin
    margin: float = Field(ge=0, lt=0.5)

    @model_validator(mode="after")
    def _ordered(self) -> "CalibrateSeedsConfig":
        high, low = self.affinity_foreground, self.affinity_background
        for value in (self.background, high, low):
            check_chosen(value)
        if high != "auto" and low != "auto" and low > high:
            raise ValueError("affinity_background is above affinity_foreground")
        return self


class CalibrateSeeds(Stage[CalibrateSeedsConfig]):
    """Chooses the thresholds of the seeds."""

    reads = ("dataset", "classifier", "cams")
    writes = "seed_thresholds"

    def run(self) -> dict[str, Any]:
        """Choose what is `auto`, take the rest from params.yaml."""
        cfg = self.cfg
        wanted = {
            "background": (cfg.background, 0.0),
            "affinity_foreground": (cfg.affinity_foreground, cfg.margin),
            "affinity_background": (cfg.affinity_background, -cfg.margin),
        }
        auto = 0.0
        if "auto" in (value for value, _ in wanted.values()):
            auto = choose(RowReader(self.folder("cams")), "cam", self.dataset, cfg, self.output / "j.csv")
        thresholds = {
            name: Threshold(round(min(0.95, max(0.05, auto + shift)), 4), "auto")
            if value == "auto"
            else Threshold(value, "params")
            for name, (value, shift) in wanted.items()
        }
        write_thresholds(self.output, thresholds)
        return {name: threshold.value for name, threshold in thresholds.items()}


if __name__ == "__main__":
    CalibrateSeeds.main()
