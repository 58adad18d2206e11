"""A sweep as one table: what each variant changed, and the mIoU that it came to."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """One variant: its settings, dotted name → value, and its scores, metric → fraction; or why there are none."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    problem: str = ""


def scores_of(metrics: Mapping[str, float]) -> dict[str, float]:
    """The mIoUs among the line's metrics: `train/masks` → fraction, as the line's table has them."""
    return {key.removeprefix("miou/"): value for key, value in metrics.items() if key.startswith("miou/")}


def columns(outcomes: Sequence[Outcome]) -> tuple[list[str], list[str]]:
    """Names of all settings and of all scores, each in the order in which they first appear."""
    settings = dict.fromkeys(name for outcome in outcomes for name in outcome.settings)
    scores = dict.fromkeys(name for outcome in outcomes for name in outcome.scores)
    return list(settings), list(scores)


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """A row a variant; the best value of each score is bold; a variant that failed says why."""
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
    """The same for other programs; scores are fractions."""
    settings, scores = columns(outcomes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["experiment", *settings, *(f"miou/{name}" for name in scores), "problem"])
    for outcome in outcomes:
        found = [outcome.scores.get(name, "") for name in scores]
        writer.writerow([outcome.name, *(outcome.settings.get(n, "") for n in settings), *found, outcome.problem])
    return stream.getvalue()


def _percent(value: float | None, best: float) -> str:
    if value is None:
        return ""
    return f"**{100 * value:.1f}**" if value == best else f"{100 * value:.1f}"


def _line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
