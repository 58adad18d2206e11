"""Two states of the line side by side: parameters that differ, scores by class, seconds of each stage. Opens no mask."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from labelfactory.errors import MissingError
from labelfactory.level.paired import Gain
from labelfactory.settings.wiring import read_wiring
from lineage.diff import learner
from lineage.gains import gains_between
from lineage.lookup import Lookup, Model
from lineage.mask_set import NOW, mask_set
from lineage.scores import IOU, scores_between
from lineage.settings_diff import executions_behind, settings_between

Answer = dict[str, Any]


def compare_states(lookup: Lookup, first: str, second: str) -> Answer:
    """What differs between the lines of two models.

    Args:
        lookup: the ledger.
        first: a model, a run, a commit, `now` or a folder of shards, as `audit diff` takes it.
        second: the other.

    Returns:
        `first` and `second`, the models' names; `settings` (stage, what, first, second), all that differ; `scores` and
        `classes` (name, first, second, a note where they are not comparable, and a gain where it is known: value, low and high of
        its interval of 95 %, None without one, and the verdict), those of the result by class; `seconds` (stage, first, second),
        None where a stage's execution is not known.

    Raises:
        MissingError: one names no model, nor masks that a recorded model learnt from.
    """
    old, new = model_of(lookup, first), model_of(lookup, second)
    gains = gains_between(lookup, old, new)
    names = {read_wiring().masks.meta.scores.name, read_wiring().model.meta.scores.name}
    return {
        "first": old.label,
        "second": new.label,
        "settings": settings_between(lookup, old, new),
        "scores": _with_gains(scores_between(lookup, old, new), gains),
        "classes": [
            s for s in _with_gains(scores_between(lookup, old, new, IOU), gains) if s["name"].split("/")[2] in names
        ],
        "seconds": _seconds(lookup, old, new),
    }


def _with_gains(scores: list[Answer], gains: Mapping[str, Gain]) -> list[Answer]:
    """Scores, each with what the second one gains where that is known."""
    told = []
    for score in scores:
        gain = gains.get(score["name"])
        figures = {name: getattr(gain, name) for name in ("value", "low", "high")} if gain else {}
        rounded = {name: round(figure, 4) if isfinite(figure) else None for name, figure in figures.items()}
        told.append({**score, "gain": {**rounded, "verdict": gain.verdict}} if gain else score)
    return told


def model_of(lookup: Lookup, text: str) -> Model:
    """The model of a state: one that learnt from exactly its masks. The model in data/ need not have, after a run without it.

    Raises:
        MissingError: there is none.
    """
    model = learner(lookup, mask_set(lookup, text))
    if model is None:
        raise MissingError(
            f"{text}: no recorded model learnt from exactly {'the masks in data/' if text == NOW else 'these masks'}",
            f"Type `labelfactory run`, which trains and records one, or name a model: {read_wiring().model.noun}@1, champion, "
            "or latest, the one in data/.",
        )
    return model


def _seconds(lookup: Lookup, old: Model, new: Model) -> list[Answer]:
    sides = [
        {stage: float(detail["tags"]["seconds"]) for stage, detail in executions_behind(lookup, model).items()}
        for model in (old, new)
    ]
    stages = [name for name in read_wiring() if name in sides[0] or name in sides[1]]
    return [{"stage": name, "first": sides[0].get(name), "second": sides[1].get(name)} for name in stages]
