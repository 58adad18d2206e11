"""`labelfactory sweep`: the line with several values of parameters, in one table and one plot."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.server.api import find_api
from flows.server.submit import submit
from flows.sweeps.plan import parse, variants
from flows.sweeps.table import Outcome, best_of, columns, in_width
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.settings.params import in_one_line

EDGES = 3
"""Characters of a table's column beside its content."""


def sweep(
    parameters: Annotated[list[str], typer.Argument(help="section.key=value,value; several give each combination.")],
    until: Annotated[
        str,
        typer.Option(
            help="The last stage that runs, such as refine_crf, but for those that choose its thresholds; no other is scored."
        ),
    ] = "",
    on: Annotated[str, typer.Option(help="Submit the sweep to a worker of this pool, and return at once.")] = "",
) -> None:
    """Run the line once for each combination of values, as DVC experiments; params.yaml and data/ stay as they are."""
    wanted = parse(parameters)
    if on:
        variants(wanted, until)
        run = submit(find_api(), on, {"parameters": wanted, "until": until}, flow="sweep")
        typer.echo(f"{run.name}: {run.page}")
        return
    from flows.sweep import sweep_here  # loads Prefect and matplotlib: only once the parameters are right

    outcomes, folder = sweep_here(wanted, lambda text: say(f"  {text}"), say, until)
    _print(outcomes)
    typer.echo(f"Table and plot: {folder}; `dvc exp apply NAME` applies one")
    failed = [outcome for outcome in outcomes if outcome.problem]
    for outcome in failed:
        say(f"{outcome.name}: {outcome.problem}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(outcomes)} variants failed",
            "Mend them and type the same again: finished variants are kept.",
        )


def _print(outcomes: Sequence[Outcome], console: Console | None = None) -> None:
    """Print scores in tables that fit the terminal, headers broken at dots and slashes alone, the best of each score bold."""
    console = console or Console()
    settings, scores = columns(outcomes)
    best = best_of(outcomes)
    heads = {name: name.replace(".", "\n").replace("/", "\n") for name in (*settings, *scores)}
    widths = {name: max(len(part) for part in heads[name].split("\n")) + EDGES for name in scores}
    values = {name: [in_one_line(o.settings[name]) for o in outcomes] for name in settings}
    taken = sum(max(map(len, (*heads[n].split("\n"), *values[n]))) + EDGES for n in settings)
    number = len(str(len(outcomes))) + EDGES + 1
    for group in in_width(scores, widths, console.width - taken - number):
        table = Table(title="The sweep: mIoU, %", title_justify="left", title_style="bold")
        table.add_column("", justify="right", no_wrap=True)
        for name in settings:
            table.add_column(heads[name], overflow="fold")
        for name in group:
            table.add_column(heads[name], justify="right", no_wrap=True)
        for k, outcome in enumerate(outcomes):
            shown = [_percent(outcome.scores.get(name), best[name]) for name in group]
            table.add_row(str(k + 1), *(escape(values[name][k]) for name in settings), *shown)
        console.print(table)
    for k, outcome in enumerate(outcomes, 1):
        console.print(f"{k}: {outcome.name}", highlight=False, markup=False)
    if any(not gain.is_nothing for outcome in outcomes for gain in outcome.gains.values()):
        _print_gains(outcomes, console)


def _print_gains(outcomes: Sequence[Outcome], console: Console) -> None:
    """Print how far each variant with other masks is better than the line in data/, and whether that is more than chance."""
    table = Table(title="Gain over the line in data/, points [95 %]", title_justify="left", title_style="bold")
    table.add_column("", justify="right")
    table.add_column("mIoU")
    table.add_column("gain")
    for k, outcome in enumerate(outcomes, 1):
        for name, gain in outcome.gains.items():
            if not gain.is_nothing:
                table.add_row(str(k), name, escape(gain.in_points))
    console.print(table)


def _percent(score: float | None, best: float) -> str:
    if score is None:
        return ""
    return f"[bold]{100 * score:.1f}[/]" if score == best else f"{100 * score:.1f}"
