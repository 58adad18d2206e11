"""Read the flat keys of the metrics: ladders of mIoU, IoU per class, what each stage earned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STEPS = {
    "seeds": "CAMs, cut at the background threshold",
    "walks": "CAMs, or a teacher's scores, spread along learned affinities",
    "masks": "walks, drawn to the edges: the pseudo-masks",
    "model": "the segmentation net trained on the masks",
}
"""What is scored, in the order of the line, and what it is."""

AT_BEST = "_at_best_threshold"
REFERENCES = {
    "upper_bound": "the same net trained on true masks",
    f"seeds{AT_BEST}": "at the threshold that is best on true masks",
    f"walks{AT_BEST}": "at the threshold that is best on true masks",
}
"""Scored for comparison: not a step of the line."""

STAGE_MAKES = {
    "extract_cams": "seeds",
    "random_walk": "walks",
    "refine_crf": "masks",
    "train_segmenter": "model",
    "train_upper_bound": "upper_bound",
}
"""The stage whose work each score judges."""


@dataclass(frozen=True)
class Rung:
    """One step of a ladder."""

    what: str
    gloss: str
    value: float  # mIoU, a fraction
    gain: float | None  # over the step before; None where that was not scored
    is_step: bool  # of the line; a reference is none

    @property
    def label(self) -> str:
        """What stands before its bar."""
        return self.what.removesuffix(AT_BEST).replace("_", " ")


@dataclass(frozen=True)
class ClassScores:
    """The IoU of one class."""

    name: str
    class_id: int | None  # None: not among the report's classes
    values: list[tuple[str, float]]  # (what, IoU)


def split_names(metrics: Mapping[str, float]) -> list[str]:
    """The splits on which masks were scored, in the order of the keys."""
    parts = (key.split("/") for key in metrics)
    return list(dict.fromkeys(p[1] for p in parts if p[0] in ("miou", "iou") and len(p) > 2))


def ladder(metrics: Mapping[str, float], split: str) -> list[Rung]:
    """mIoU of each step on a split, in the order of the line, then the references. Steps that are NaN are left out."""
    prefix = f"miou/{split}/"
    scored = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix) and math.isfinite(v)}
    rungs: list[Rung] = []
    for what in in_order(scored):
        before = _step_before(what)
        gain = scored[what] - scored[before] if before in scored else None
        gloss = STEPS.get(what) or REFERENCES.get(what, "")
        rungs.append(Rung(what, gloss, scored[what], gain, what in STEPS))
    return rungs


def _step_before(what: str) -> str | None:
    names = list(STEPS)
    return names[names.index(what) - 1] if what in names[1:] else None


def class_scores(metrics: Mapping[str, float], split: str, classes: Sequence[str]) -> list[ClassScores]:
    """IoU per class on a split, in the order of `classes`; a class name may hold slashes."""
    found: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        parts = key.split("/", 3)
        if len(parts) == 4 and parts[:2] == ["iou", split] and math.isfinite(value):
            found.setdefault(parts[3], {})[parts[2]] = value
    ids = {name: i for i, name in enumerate(classes)}
    names = sorted(found, key=lambda name: ids.get(name, len(ids)))
    return [ClassScores(n, ids.get(n), [(w, found[n][w]) for w in in_order(found[n])]) for n in names]


def in_order(whats: Mapping[str, float]) -> list[str]:
    """The steps of the line first, in its order; the others as they come."""
    return [w for w in STEPS if w in whats] + [w for w in whats if w not in STEPS]


def stage_score(metrics: Mapping[str, float], stage: str, split: str) -> tuple[str, float] | None:
    """(measure, fraction) that judges a stage's work on a split: mAP of the classifier, mIoU of what others make."""
    measure, key = "mIoU", f"miou/{split}/{STAGE_MAKES.get(stage)}"
    if stage == "train_classifier":
        measure, key = "mAP", f"map/{split}"
    value = metrics.get(key, math.nan)
    return (measure, value) if math.isfinite(value) else None
