"""Read the flat keys of the metrics: ladders of mIoU, IoU per class, the score of each stage."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reporting.content import Step

AT_BEST = "_at_best_threshold"
"""Ends the name of a score that is measured at the threshold which is best on true masks: for comparison, not a step."""
AT_BEST_GLOSS = "at the threshold that is best on true masks"


@dataclass(frozen=True)
class Rung:
    """One step of a ladder."""

    what: str
    gloss: str
    value: float  # mIoU, a fraction
    gain: float | None  # over the step before; None where that was not scored
    is_step: bool  # of the line; False for a reference

    @property
    def label(self) -> str:
        """The text before its bar."""
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


def ladder(metrics: Mapping[str, float], split: str, steps: Sequence[Step]) -> list[Rung]:
    """mIoU of each step on a split, in the order of the line, then the references. Steps that are NaN are left out."""
    prefix = f"miou/{split}/"
    scored = {k.removeprefix(prefix): v for k, v in metrics.items() if k.startswith(prefix) and math.isfinite(v)}
    names, glosses = step_names(steps), {step.name: step.gloss for step in steps}
    rungs: list[Rung] = []
    for what in in_order(scored, steps):
        before = names[names.index(what) - 1] if what in names[1:] else None
        gain = scored[what] - scored[before] if before in scored else None
        gloss = AT_BEST_GLOSS if what.endswith(AT_BEST) else glosses.get(what, "")
        rungs.append(Rung(what, gloss, scored[what], gain, what in names))
    return rungs


def step_names(steps: Sequence[Step]) -> list[str]:
    """Names of the steps of the line, without references."""
    return [step.name for step in steps if not step.reference]


def class_scores(
    metrics: Mapping[str, float], split: str, classes: Sequence[str], steps: Sequence[Step]
) -> list[ClassScores]:
    """IoU per class on a split, in the order of `classes`; a class name may hold slashes."""
    by_class: dict[str, dict[str, float]] = {}
    for key, value in metrics.items():
        parts = key.split("/", 3)
        if len(parts) == 4 and parts[:2] == ["iou", split] and math.isfinite(value):
            by_class.setdefault(parts[3], {})[parts[2]] = value
    ids = {name: i for i, name in enumerate(classes)}
    names = sorted(by_class, key=lambda name: ids.get(name, len(ids)))
    return [ClassScores(n, ids.get(n), [(w, by_class[n][w]) for w in in_order(by_class[n], steps)]) for n in names]


def in_order(whats: Mapping[str, float], steps: Sequence[Step]) -> list[str]:
    """The steps of the line first, in its order; the others as they come."""
    names = step_names(steps)
    return [w for w in names if w in whats] + [w for w in whats if w not in names]


def stage_score(metrics: Mapping[str, float], measure: str, name: str, split: str) -> tuple[str, float] | None:
    """(measure, fraction) of what a stage makes, on a split; None where it was not scored.

    Args:
        metrics: flat keys.
        measure: mIoU of masks, or mAP of tags.
        name: of the score in the keys of mIoU; empty for a stage that is not scored by mIoU.
        split: a list of images.
    """
    value = metrics.get(f"map/{split}" if measure == "mAP" else f"miou/{split}/{name}", math.nan)
    return (measure, value) if math.isfinite(value) else None
