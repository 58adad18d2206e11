"""Choose the background threshold of the seeds and the two thresholds of the affinity labels, without true masks.

Reads   data/dataset           photographs and tags of the training list
        data/classifier        checkpoint
        data/cams              cam [K, h, w] float16 in [0, 1]
Writes  data/seed_thresholds   thresholds.json: background, affinity_foreground, affinity_background;
                               evidence.csv: threshold, J, explained
Source  docs/decisions/0006. A separate stage, so that keys of rows include the numbers and --no-retrain freezes them.
"""

from pydantic import Field, model_validator

from labelfactory.errors import ParamsError
from labelfactory.rows.reader import RowReader
from labelfactory.settings.thresholds import EVIDENCE, Chosen, Threshold
from labelfactory.stage.calibration import CalibrationStage
from labelfactory.stage.runner import main
from stages._calibration import CalibrationSection, choose


class CalibrateSeedsConfig(CalibrationSection):
    """Section `calibrate_seeds` of params.yaml."""

    background: Chosen = Field(description="score below which a seed is background")
    affinity_foreground: Chosen = Field(
        description="score above which an affinity label is its class; `auto`: background + `foreground_margin`"
    )
    affinity_background: Chosen = Field(
        description=(
            "score below which it is background; `auto`: background − `background_margin`, at most `background_most`"
        )
    )
    foreground_margin: float = Field(ge=0, lt=0.5, description="void above the background's threshold")
    background_margin: float = Field(ge=0, lt=0.5, description="void below it")
    background_most: float = Field(gt=0, le=1, description="above this score no pixel is a confident background")

    @model_validator(mode="after")
    def _ordered(self) -> "CalibrateSeedsConfig":
        high, low = self.affinity_foreground, self.affinity_background
        if high != "auto" and low != "auto" and low > high:
            raise ValueError("affinity_background is above affinity_foreground")
        return self


class CalibrateSeeds(CalibrationStage[CalibrateSeedsConfig]):
    """Chooses the thresholds of the seeds."""

    reads = ("dataset", "classifier", "cams")
    writes = "seed_thresholds"
    spreads = True

    def choose(self) -> dict[str, Threshold]:
        """Choose the thresholds that are `auto`; take the others from params.yaml."""
        cfg, curve = self.cfg, self.output / EVIDENCE
        if cfg.background == "auto":
            base = choose(RowReader(self.folder("cams")), "cam", self.dataset, cfg, curve)
        else:
            base = cfg.background
        thresholds = {
            "background": _threshold(cfg.background, base),
            "affinity_foreground": _threshold(cfg.affinity_foreground, base + cfg.foreground_margin),
            "affinity_background": _threshold(
                cfg.affinity_background, min(base - cfg.background_margin, cfg.background_most)
            ),
        }
        high, low = (thresholds[f"affinity_{side}"].value for side in ("foreground", "background"))
        if low > high:  # one of them is auto: params.yaml alone cannot show it
            raise ParamsError(
                f"calibrate_seeds: affinity_background is {low:g}, above affinity_foreground, which is {high:g}",
                "Set both in params.yaml, or leave both at auto.",
            )
        return thresholds


def _threshold(chosen: Chosen, auto: float) -> Threshold:
    return Threshold(round(min(0.95, max(0.05, auto)), 4), "auto") if chosen == "auto" else Threshold(chosen, "params")


if __name__ == "__main__":
    main(CalibrateSeeds)
