"""A sweep as one table: the settings and the mIoU of each variant."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One variant: its settings, dotted name → value, and its scores, metric → fraction; or its problem."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    problem: str = ""


def scores_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The mIoUs among the line's metrics: `train/masks` → fraction, as in the line's table."""
    return {key.removeprefix("miou/"): value for key, value in metrics.items() if key.startswith("miou/")}


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """Names of all settings and of all scores, in the order of their first appearance."""
    settings = dict.fromkeys(name for outcome in outcomes for name in outcome.settings)
    scores = dict.fromkeys(name for outcome in outcomes for name in outcome.scores)
    return list(settings), list(scores)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """One row per variant; the best value of each score is bold; a failed variant has its problem."""
    settings, scores = columns(outcomes)
    best = {name: max(o.scores[name] for o in outcomes if name in o.scores) for name in scores}
    rows = [["experiment", *settings, *(f"mIoU {name}, %" for name in scores), ""]]
    rows.append(["---", *("---" for _ in settings), *("---:" for _ in scores), "---"])
    for outcome in outcomes:
        shown = [_percent(outcome.scores.get(name), best[name]) for name in scores]
        rows.append(
            [outcome.name, *(str(outcome.settings.get(name, "")) for name in settings), *shown, _line(outcome.problem)]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def as_csv(outcomes: Sequence[Outcome]) -> str:
    """The same as CSV; scores are fractions."""
    settings, scores = columns(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["experiment", *settings, *(f"miou/{name}" for name in scores), "problem"])
    for outcome in outcomes:
        values = [outcome.scores.get(name, "") for name in scores]
        writer.writerow([outcome.name, *(outcome.settings.get(n, "") for n in settings), *values, outcome.problem])
    return stream.getvalue()


def _percent(value: float | None, best: float) -> str:
    if value is None:
        return ""
    return f"**{100 * value:.1f}**" if value == best else f"{100 * value:.1f}"


def _line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
