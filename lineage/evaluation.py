"""One evaluation: its figures, and the digest of everything that they were measured on.

`evaluate` writes both into metrics.json. A figure is shown beside something only if it was measured on that thing's digest;
otherwise it is not measured. A file of an earlier version names no digests: none of its figures belongs to anything.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from labelfactory.digests import digest_file
from labelfactory.errors import UserError
from labelfactory.rows.predicted import INFERENCE
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import METRICS, StageWiring, read_wiring
from labelfactory.stage.output_state import LIST, SETTINGS, list_state, output_state

MEASURED = "measured"
"""In metrics.json and in the header of images.parquet: the states of what was scored."""
AT_BEST = "_at_best_threshold"
"""Ends the name of a score at the threshold that is best on true masks: it depends on no threshold of the line."""
RUN = "`labelfactory run` scores what is there now."
Digests = Mapping[str, str]
"""Name of an output, or `list <name>` → digest."""


@dataclass(frozen=True)
class Evaluation:
    """Figures by their flat keys, and what they were measured on.

    Attributes:
        figures: finite numbers.
        measured: the digests of outputs and lists.
        inference: the digest of the settings with which networks were run.
        settings: section of params.yaml at that time → its digest and its values.
        classes: names of class ids 1, 2, … by which was scored; empty where it is not known.
        changed: whether the file is another one than `evaluate` wrote, so that its figures are nobody's.
    """

    figures: Mapping[str, float] = field(default_factory=dict)
    measured: Digests = field(default_factory=dict)
    inference: str = ""
    settings: Mapping[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    changed: bool = False

    def fits(self, digests: Digests) -> set[str]:
        """Names of what has the digest that was measured."""
        return {name for name, digest in self.measured.items() if digests.get(name) == digest}

    def of(self, digests: Digests) -> dict[str, float]:
        """The figures that were measured on these digests and on nothing else."""
        every, fits = set(self.measured), self.fits(digests)
        if not every:
            return {}
        return {key: value for key, value in self.figures.items() if (subjects(key) or every) <= fits}

    def names(self, digests: Digests) -> set[str]:
        """Names of the scores that belong to these digests on every list, such as masks."""
        fits, lists = self.fits(digests), {name for name in self.measured if name.startswith(f"{LIST} ")}
        names = {stage.meta.scores.name: _outputs(stage, cut=True) | lists for stage in read_wiring().scored}
        return {name for name, needed in names.items() if self.measured and needed <= fits}

    def why_not(self, digests: Digests) -> str:
        """Why some of its figures are not those of these digests; empty if all are."""
        if self.changed:
            return f"{METRICS} was changed after `evaluate` wrote it, so that no score is shown. {RUN}"
        others = [name for name, digest in self.measured.items() if digests.get(name) != digest]
        if self.figures and not self.measured:
            return f"{METRICS} does not say what its scores were measured on. {RUN}"
        return f"Not measured: {', '.join(others)} changed after the last `evaluate`. {RUN}" if others else ""


def read_evaluation(path: Path = METRICS) -> Evaluation:
    """The evaluation on disk; empty where there is none, where it is being written, or was changed."""
    if path == METRICS and not is_as_written():
        return Evaluation(changed=True)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return Evaluation()
    return evaluation_of(content, measured_in(content)) if isinstance(content, dict) else Evaluation()


def is_as_written() -> bool:
    """Whether the scores on disk are those that the stage's report names; where it names none, nothing is known against them."""
    stage = read_wiring().maker(METRICS.parent.name)
    made = read_report(stage.name).get("made", ()) if stage and METRICS.is_file() else ()
    written = next((state["digest"] for state in made if state["name"] == METRICS.as_posix()), None)
    return written is None or written == digest_file(METRICS)


def measured_in(content: Any) -> list[dict[str, Any]]:
    """The states that the content of a file says it measured; none of a file that is not an evaluation's."""
    states = content.get(MEASURED) if isinstance(content, dict) else None
    if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
        return []
    named = all(isinstance(state.get(word), str) for state in states for word in ("name", "kind", "digest"))
    whole = all(isinstance(s.get("values", {}), dict) and isinstance(s.get("classes", []), list) for s in states)
    return states if named and whole else []


def evaluation_of(figures: Mapping[str, Any], states: Iterable[Mapping[str, Any]]) -> Evaluation:
    """An evaluation by what a file holds. Figures that are not finite numbers are left out."""
    states = list(states)
    numbers = {k: float(v) for k, v in figures.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    settings = {s["name"]: (s["digest"], dict(s.get("values", {}))) for s in states if s["kind"] == SETTINGS}
    inference, _ = settings.pop(INFERENCE, ("", {}))
    finite = {k: v for k, v in numbers.items() if isfinite(v)}
    classes = next((tuple(map(str, s["classes"])) for s in states if s["kind"] == LIST and s.get("classes")), ())
    return Evaluation(finite, digests_of(states), inference, settings, classes)


def digests_of(states: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The digests of the outputs and lists among some states."""
    names = {LIST: "list {}", SETTINGS: ""}
    named = ((names.get(state["kind"], "{}").format(state["name"]), state["digest"]) for state in states)
    return {name: digest for name, digest in named if name}


def subjects(key: str) -> set[str] | None:
    """Names of what a figure was measured on; None if that is everything."""
    kind, _, rest = key.partition("/")
    split, _, what = rest.partition("/")
    stages = {stage.meta.scores.name: stage for stage in read_wiring().values() if stage.meta.scores.name}
    name = what.partition("/")[0] if kind in ("miou", "iou", "images") else kind
    stage = stages.get(name.removesuffix(AT_BEST))
    if stage is None or not what:
        return None
    return {f"list {split}", *_outputs(stage, cut=not name.endswith(AT_BEST))}


def _outputs(stage: StageWiring, *, cut: bool) -> set[str]:
    """The output behind a score, and the thresholds that cut it."""
    return {stage.noun} | ({stage.meta.scores.thresholds} if cut else set()) - {""}


def present(evaluation: Evaluation, known: Digests | None = None) -> dict[str, str]:
    """The digests on disk of everything that an evaluation measured; none of what is damaged.

    Args:
        evaluation: names it.
        known: digests that need not be computed again.
    """
    digests = dict(known or {})
    for name in evaluation.measured:
        kind, _, listed = name.partition(" ")
        is_list = kind == LIST and bool(listed)
        if name in digests or not (is_list or read_wiring().maker(name)):  # a name is no path
            continue
        try:
            state = list_state(listed) if is_list else output_state(name)
        except UserError:
            continue
        digests |= {name: state["digest"]} if state else {}
    return digests
