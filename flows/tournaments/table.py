"""A tournament as a table of text."""

from collections.abc import Sequence

from labelfactory.level.paired import in_points
from labelfactory.settings.params import in_one_line
from labelfactory.tournament import BASELINE, Contender, Results, ShownGain
from reporting.tournament_words import state_of, verdict

DASH = "–"


def heads(results: Results) -> list[str]:
    """The columns of `rows`."""
    score = f"{results.until}, mIoU %" if results.with_truth else results.guess
    best = ["at the best threshold"] if any(c.at_best is not None for c in results.contenders) else []
    return ["contender", score, "gain, points [95 %]", *best, "cost", "parameters", "state"]


def rows(results: Results) -> list[list[str]]:
    """One for each contender: score in per cent, its gain over the baseline, cost as a factor."""
    with_best = any(c.at_best is not None for c in results.contenders)
    return [_row(contender, results, with_best=with_best) for contender in results.contenders]


def _row(contender: Contender, results: Results, *, with_best: bool) -> list[str]:
    figure = contender.score if results.with_truth else contender.guess
    scale = f"{100 * figure:.1f}" if figure is not None and results.with_truth else _number(figure)
    best = [_both(contender)] if with_best else []
    cost = DASH if contender.cost is None or contender.name == BASELINE else f"{contender.cost:.2f} ×"
    settings = ", ".join(f"{name}={in_one_line(value)}" for name, value in contender.overlay.items())
    problem = f": {contender.problem}" if contender.problem else ""
    state = f"{state_of(contender, results)}{problem}"
    return [contender.name, scale, gain_in_words(contender.gain), *best, cost, settings, state]


def gain_in_words(gain: ShownGain | None) -> str:
    """`+2.1 [0.4, 3.8] better`; a dash where there is none."""
    if gain is None or gain.value is None:
        return DASH
    nan = float("nan")
    low, high = (nan if bound is None else bound for bound in (gain.low, gain.high))
    return in_points(gain.value, low, high, gain.verdict)


def _both(contender: Contender) -> str:
    value = DASH if contender.at_best is None else f"{100 * contender.at_best:.1f}"
    return value if contender.gain_at_best is None else f"{value} ({gain_in_words(contender.gain_at_best)})"


def _number(figure: float | None) -> str:
    return DASH if figure is None else f"{figure:.3f}"


def as_markdown(results: Results) -> str:
    """The table, and what to do."""
    lines = [_line(heads(results)), _line(["---"] * len(heads(results))), *(_line(row) for row in rows(results))]
    said = verdict(results)
    return "\n".join([*lines, "", said.sentence, *said.remarks])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |"
