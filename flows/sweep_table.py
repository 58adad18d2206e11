"""A sweep as one table and one plot: what each variant changed, and the mIoU that it came to."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P")


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


def as_svg(outcomes: Sequence[Outcome]) -> str:
    """One plot: along the axis of one numeric parameter if that is all that was varied, else variant by variant.

    The same outcomes give the same bytes.
    """
    done = [outcome for outcome in outcomes if outcome.scores]
    settings, scores = columns(done)
    along = settings[0] if len(settings) == 1 and all(_is_number(o.settings[settings[0]]) for o in done) else ""
    if along:
        done = sorted(done, key=lambda outcome: float(outcome.settings[along]))
    with matplotlib.rc_context({"svg.hashsalt": "labelfactory", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4) if along else (7, 1.6 + 0.35 * len(done)), layout="constrained")
        axes = figure.add_subplot()
        places = list(range(len(done)))
        for marker, name in zip(MARKERS * len(scores), scores, strict=False):
            values = [100 * o.scores.get(name, math.nan) for o in done]
            if along:
                axes.plot([float(o.settings[along]) for o in done], values, marker=marker, label=name)
            else:
                axes.plot(values, places, marker=marker, linestyle="none", label=name)
        if along:
            axes.set_xlabel(along)
            axes.set_ylabel("mIoU, %")
        else:
            axes.set_yticks(places, [_settings_in_words(o.settings) for o in done])
            axes.invert_yaxis()
            axes.set_xlabel("mIoU, %")
        axes.grid(alpha=0.3)
        if scores:
            axes.legend(frameon=False, fontsize="small")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def _settings_in_words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.rsplit('.', 1)[-1]}={value}" for name, value in settings.items())


def _percent(value: float | None, best: float) -> str:
    if value is None:
        return ""
    return f"**{100 * value:.1f}**" if value == best else f"{100 * value:.1f}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
