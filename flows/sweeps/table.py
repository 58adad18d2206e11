"""A sweep as one table: the settings and the mIoU of each variant."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from labelfactory.level.paired import Gain
from lineage.evaluation import AT_BEST


@dataclass(frozen=True)
class Outcome:
    """One variant: its settings, dotted name → value; its scores, metric → fraction, and their gains; or its problem."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    problem: str = ""
    gains: Mapping[str, Gain] = field(default_factory=dict)


def scores_of(metrics: Mapping[str, float], names: Collection[str] | None = None) -> dict[str, float]:
    """The mIoUs among the line's metrics: `train/masks` → fraction, as in the line's table.

    Args:
        metrics: by their flat keys.
        names: of the scores that are wanted, such as masks; None for all.
    """
    scores = {key.removeprefix("miou/"): value for key, value in metrics.items() if key.startswith("miou/")}
    return {
        key: value
        for key, value in scores.items()
        if names is None or key.partition("/")[2].removesuffix(AT_BEST) in names
    }


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """Names of all settings and of all scores, in the order of their first appearance."""
    settings = dict.fromkeys(name for outcome in outcomes for name in outcome.settings)
    scores = dict.fromkeys(name for outcome in outcomes for name in outcome.scores)
    return list(settings), list(scores)


def best_of(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The best value of each score."""
    _, scores = columns(outcomes)
    return {name: max(o.scores[name] for o in outcomes if name in o.scores) for name in scores}


def in_width(names: Sequence[str], widths: Mapping[str, int], width: int) -> list[list[str]]:
    """The columns of scores in groups, of which each fits beside the settings: one at least in each; without scores one of none."""
    groups: list[list[str]] = []
    left = 0
    for name in names:
        if not groups or widths[name] > left:
            groups.append([])
            left = width
        groups[-1].append(name)
        left -= widths[name]
    return groups or [[]]


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """One row per variant; the best value of each score is bold, gains stand beside them; a failed variant has its problem."""
    settings, scores = columns(outcomes)
    best = best_of(outcomes)
    rows = [["experiment", *settings, *(f"mIoU {name}, %" for name in scores), ""]]
    rows.append(["---", *("---" for _ in settings), *("---:" for _ in scores), "---"])
    for outcome in outcomes:
        shown = [_percent(outcome.scores.get(name), best[name], outcome.gains.get(name)) for name in scores]
        rows.append(
            [outcome.name, *(str(outcome.settings.get(name, "")) for name in settings), *shown, _line(outcome.problem)]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """The same as CSV; scores and gains are fractions, with the ends of the gains' intervals where gains are known."""
    settings, scores = columns(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    gained = [name for name in scores if any(name in outcome.gains for outcome in outcomes)]
    ends = [f"{part}/{name}" for name in gained for part in ("gain", "low", "high")]
    writer.writerow(["experiment", *settings, *(f"miou/{name}" for name in scores), *ends, "problem"])
    for outcome in outcomes:
        values: list[float | str] = [outcome.scores.get(name, "") for name in scores]
        for name in gained:
            gain = outcome.gains.get(name)
            parts = (gain.value, gain.low, gain.high) if gain else ()
            values += [part if isfinite(part) else "" for part in parts] or [""] * 3
        writer.writerow([outcome.name, *(outcome.settings.get(n, "") for n in settings), *values, outcome.problem])
    return stream.getvalue()


def _percent(value: float | None, best: float, gain: Gain | None) -> str:
    if value is None:
        return ""
    shown = f"**{100 * value:.1f}**" if value == best else f"{100 * value:.1f}"
    return f"{shown} ({gain.in_points})" if gain and not gain.is_nothing else shown


def _line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
