"""The scores of a model: those that were measured on its weights, and on the rows that it learnt from.

Every evaluation that was recorded names the digests that it scored. The first one that scored exactly these, by the classes of the
model, gives the score, so that no later run changes it. One that scored fewer images than another of the same list, with the same
settings, gives none: earlier versions left out true masks that were away. One of another list, such as a longer one, replaces none.
"""

from dataclasses import dataclass
from typing import Any

from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.output_state import LIST
from lineage.evaluation import AT_BEST, Evaluation
from lineage.lookup import Lookup, Model

SCORE = "miou/"
OTHER_TRUTH = "other true masks, or with other settings of evaluate"
IOU = "iou/"
"""A score by class."""


@dataclass(frozen=True)
class Score:
    """A score of a model.

    Attributes:
        value: a fraction.
        measured_with: digests of the list with its true masks, and of the settings of `evaluate`.
        images: that were scored; fewer than the list has where the network learnt from some when they were on another list.
    """

    value: float
    measured_with: tuple[str, str]
    images: float = 0

    def comparable(self, other: "Score") -> bool:
        """Whether both were measured on the same images with the same settings."""
        return (self.measured_with, self.images) == (other.measured_with, other.images)


def scores_of(lookup: Lookup, model: Model, *, behind: bool = True, kind: str = SCORE) -> dict[str, Score]:
    """The scores of a model by their flat keys, in the order of the line.

    Args:
        lookup: the ledger.
        model: the model.
        behind: whether those of the rows that it learnt from are wanted too, not only its own.
        kind: the first part of their keys.
    """
    scores: dict[str, Score] = {}
    counts: dict[str, float] = {}
    classes = tuple(model.passport.classes)
    for evaluation in (each for each in lookup.evaluations if each.classes in ((), classes)):
        digests = belonging(lookup, model, evaluation, behind=behind)
        for key, value in (evaluation.of(digests) if digests else {}).items():
            if not key.startswith(kind):
                continue
            split, name = (*key.split("/")[1:3], "")[:2]
            count = evaluation.figures.get(f"images/{split}/{name.removesuffix(AT_BEST)}", 0)
            score = Score(value, (evaluation.measured.get(f"{LIST} {split}", ""), evaluation.inference), count)
            if key in scores and (count <= counts[key] or score.measured_with != scores[key].measured_with):
                continue
            counts[key], scores[key] = count, score
    return scores


def belonging(lookup: Lookup, model: Model, evaluation: Evaluation, *, behind: bool) -> dict[str, str]:
    """The digests of an evaluation that belong to a model, and its lists; empty where it measured nothing of the model."""
    digests: dict[str, str] = {}
    if evaluation.measured.get(model.name) == model.weights:
        digests[model.name] = model.weights
    masks, learnt = read_wiring().masks.noun, model.passport.training_rows_digest
    if behind and model.name == read_wiring().model.noun and evaluation.measured.get(masks) == learnt:
        made_with = [set().union(*(i.values() for i in recipe.values())) for recipe in lookup.recipes(model.digest)]
        shared = set.intersection(*made_with) if made_with else set()
        digests |= {masks: learnt, **lookup.rows_behind(model.digest)}
        digests |= {name: digest for name, digest in evaluation.measured.items() if digest in shared}
    lists = {name: digest for name, digest in evaluation.measured.items() if name.startswith(f"{LIST} ")}
    return digests | lists if digests else {}


def scores_between(
    lookup: Lookup, first: Model | None, second: Model | None, kind: str = SCORE
) -> list[dict[str, Any]]:
    """Scores of either model: name, first, second, None where it is not measured; and a note where they are not comparable.

    Empty unless both are models.
    """
    if first is None or second is None:
        return []
    old, new = scores_of(lookup, first, kind=kind), scores_of(lookup, second, kind=kind)
    return [_pair(name, old.get(name), new.get(name)) for name in [*new, *(name for name in old if name not in new)]]


def _pair(name: str, old: Score | None, new: Score | None) -> dict[str, Any]:
    pair = {"name": name, "first": old and round(old.value, 4), "second": new and round(new.value, 4)}
    if old is None or new is None or old.comparable(new):
        return pair
    alike = old.measured_with == new.measured_with
    other = "other images of the list: a network learnt from the rest" if alike else OTHER_TRUTH
    return {**pair, "note": f"measured on {other}"}
