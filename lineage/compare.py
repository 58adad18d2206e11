"""Two states of the line side by side: parameters that differ, scores by class, seconds of each stage. Opens no mask."""

from typing import Any

from labelfactory.errors import MissingError
from labelfactory.settings.wiring import read_wiring
from lineage.diff import learner
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
        `classes` (name, first, second, a note where they are not comparable), those of the result by class; `seconds`
        (stage, first, second), None where a stage's execution is not known.

    Raises:
        MissingError: one names no model, nor masks that a recorded model learnt from.
    """
    old, new = model_of(lookup, first), model_of(lookup, second)
    names = {read_wiring().masks.meta.scores.name, read_wiring().model.meta.scores.name}
    return {
        "first": old.label,
        "second": new.label,
        "settings": settings_between(lookup, old, new),
        "scores": scores_between(lookup, old, new),
        "classes": [s for s in scores_between(lookup, old, new, IOU) if s["name"].split("/")[2] in names],
        "seconds": _seconds(lookup, old, new),
    }


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
