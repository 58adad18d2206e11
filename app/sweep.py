"""`labelfactory sweep`: the line with several values of parameters, in one table and one plot."""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.server.api import find_api
from flows.server.submit import submit
from flows.sweeps.plan import parse, variants
from flows.sweeps.table import Outcome, columns
from labelfactory.console import say
from labelfactory.errors import UserError


def sweep(
    parameters: Annotated[list[str], typer.Argument(help="section.key=value,value; several give each combination.")],
    on: Annotated[str, typer.Option(help="Submit the sweep to a worker of this pool, and return at once.")] = "",
) -> None:
    """Run the line once for each combination of values, as DVC experiments; params.yaml and data/ stay as they are."""
    wanted = parse(parameters)
    if on:
        variants(wanted)
        run = submit(find_api(), on, {"parameters": wanted}, flow="sweep")
        typer.echo(f"{run.name}: {run.page}")
        return
    from flows.sweep import sweep_here  # loads Prefect and matplotlib: only once the parameters are right

    outcomes, folder = sweep_here(wanted, lambda text: say(f"  {text}"), say)
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


def _print(outcomes: list[Outcome]) -> None:
    settings, scores = columns(outcomes)
    table = Table(title="The sweep: mIoU, %", title_justify="left", title_style="bold")
    table.add_column("experiment", no_wrap=True)
    for name in settings:
        table.add_column(name, overflow="fold")
    for name in scores:
        table.add_column(name, justify="right", overflow="fold")
    for outcome in outcomes:
        shown = [f"{100 * outcome.scores[name]:.1f}" if name in outcome.scores else "" for name in scores]
        table.add_row(outcome.name, *(str(outcome.settings[name]) for name in settings), *shown)
    Console().print(table)
