"""`labelfactory compare A B`: two states of the line side by side, in 80 columns."""

import json
from collections.abc import Iterable, Mapping
from math import nan
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.audit import recorded_ledger
from labelfactory.console import show
from labelfactory.level.paired import in_points
from lineage.compare import compare_states

SHORT = 12
"""Characters of a digest of code; --json has all."""
NOTHING = "–"
GAIN = "gain, 95 %"


def compare(
    first: Annotated[str, typer.Argument(help="A model, a run, a commit, or `now`, as `audit diff` takes it.")],
    second: Annotated[str, typer.Argument(help="The other.")] = "now",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show parameters that differ, scores by class, and seconds of two states side by side.

    Where both were scored on the same images, the gain of the second is shown with its interval of 95 %.
    """
    answer = compare_states(recorded_ledger(), first, second)
    if as_json:
        show(json.dumps(answer, indent=2, ensure_ascii=False))
        return
    console = Console()
    names = answer["first"], answer["second"]
    settings = ((_setting(s), _value(s, "first"), _value(s, "second")) for s in answer["settings"])
    _print(console, "Settings that differ", names, settings)
    scores = [*answer["scores"], *answer["classes"]]
    told = (*names, GAIN) if any("gain" in score for score in scores) else names
    _print(console, "mIoU, %", told, (_score(s) for s in answer["scores"]))
    _print(console, "IoU by class, %", told, (_score(s) for s in answer["classes"]))
    _print(
        console, "Seconds", names, ((s["stage"], _number(s["first"]), _number(s["second"])) for s in answer["seconds"])
    )
    if any("gain" in score for score in scores):
        console.print(f"{GAIN}: the interval by redrawing images; better or worse only where it does not hold 0.")
    for note in sorted({score["note"] for score in scores if "note" in score}):
        console.print(f"* {note}", markup=False, highlight=False)


def _print(console: Console, title: str, names: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(escape(name), justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row[: len(table.columns)])
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{title}: none", style="bold", highlight=False)


def _setting(item: Mapping[str, Any]) -> str:
    what = str(item["what"])
    return escape(what if what.startswith(f"{item['stage']}.") else f"{item['stage']}: {what}")


def _value(item: Mapping[str, Any], side: str) -> str:
    value = item[side]
    short = item["what"] == "code" or "digest" in item["what"]
    return NOTHING if value is None else escape(str(value)[:SHORT] if short else str(value))


def _score(item: Mapping[str, Any]) -> tuple[str, ...]:
    """The name without its kind, both scores, the better one bold, and the gain."""
    values = [item["first"], item["second"]]
    known = [value for value in values if value is not None]
    shown = [
        NOTHING if value is None else f"[bold]{100 * value:.1f}[/]" if value == max(known) else f"{100 * value:.1f}"
        for value in values
    ]
    name = item["name"].partition("/")[2] + ("*" if "note" in item else "")
    return escape(name), *shown, _gain(item.get("gain"))


def _gain(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return NOTHING
    value, low, high = (nan if gain[k] is None else gain[k] for k in ("value", "low", "high"))
    return escape(in_points(value, low, high, gain["verdict"]))


def _number(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds:.1f}"
