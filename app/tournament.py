"""`labelfactory tournament`: methods against params.yaml as it stands, on the same photographs."""

import re
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app._params_file import change_params
from flows.server.api import find_api
from flows.server.submit import submit
from flows.tournaments.contenders import EXAMPLE
from flows.tournaments.setup import Wish, set_up
from flows.tournaments.table import heads, rows
from labelfactory.console import in_time, say
from labelfactory.errors import ParamsError, UserError, did_you_mean
from labelfactory.lock import project_lock
from labelfactory.settings.overlay import nested
from labelfactory.tournament import BASELINE, REPORT, RESULTS, Results, read_results
from lineage.deliver import deliver
from lineage.tournament_record import record_tournament
from reporting.tournament_words import verdict, warnings

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600}
RUNNERS = ("local", "dask", "ray")


def tournament(
    contenders: Annotated[
        list[str] | None,
        typer.Argument(
            help="Families, such as objectives: each method with its own defaults; or YAML files with a line for each contender."
        ),
    ] = None,
    until: Annotated[
        str,
        typer.Option(
            help="The last step that is made and scored: seeds, walks, masks or model. Default: the first that a contender changes."
        ),
    ] = "",
    seeds: Annotated[int, typer.Option(help="Seeds that each is trained with.")] = 2,
    budget: Annotated[
        str, typer.Option(help="Time that all of it may take, such as 2h or 90m: the worst drop out early.")
    ] = "",
    split: Annotated[
        str, typer.Option("--list", help="The list that goes through the line. Default: the training list.")
    ] = "",
    images: Annotated[int, typer.Option(help="Photographs of that list, chosen by their ids. Default: all.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and run nothing.")] = False,
    adopt: Annotated[
        str, typer.Option(metavar="NAME", help="Lay a contender of the last tournament over params.yaml.")
    ] = "",
    on: Annotated[str, typer.Option(help="Submit it to a worker of this pool, and return at once.")] = "",
    runner: Annotated[
        str, typer.Option(help="With --on: local, or dask or ray to run contenders side by side.")
    ] = "local",
) -> None:
    """Hold methods against params.yaml as it stands, on the same photographs: gains with intervals, costs, one report."""
    if adopt:
        _adopt(adopt)
        return
    if runner not in RUNNERS:
        raise ParamsError(f"--runner {runner!r} is unknown{did_you_mean(runner, RUNNERS)}", "Use local, dask or ray.")
    if not contenders:
        raise ParamsError("a tournament needs contenders", EXAMPLE)
    wish = Wish(tuple(contenders), until, seeds, split, images, _seconds(budget))
    if on:
        set_up(wish)
        run = submit(find_api(), on, {**asdict(wish), "runner": runner}, flow="tournament")
        typer.echo(f"{run.name}: {run.page}")
        return
    if runner != "local":
        raise ParamsError(
            f"--runner {runner} needs a worker", f"Type `labelfactory tournament … --on cpu --runner {runner}`."
        )
    if dry_run:
        _print_forecast(wish)
        return
    from flows.tournament import tournament_here  # loads Prefect: only once the words are right

    results = tournament_here(wish, lambda text: say(f"  {text}"), say)
    _record(results)
    _print(results)
    failed = [contender for contender in results.contenders if contender.state == "failed"]
    if failed:
        raise UserError(
            f"{len(failed)} of {len(results.contenders)} contenders failed: {', '.join(c.name for c in failed)}",
            "Their errors are in the table. Mend them and type the same again: what is done is kept.",
        )


def _seconds(text: str) -> float:
    """`2h` → 7200; 0 for an empty text. Raises ParamsError for anything else."""
    if not text:
        return 0.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h)", text.strip())
    if match is None or float(match[1]) <= 0:
        raise ParamsError(f"--budget {text[:40]!r} is not a time", "Type it like this: --budget 2h, or 90m.")
    return float(match[1]) * UNITS[match[2]]


def _adopt(name: str) -> None:
    results = read_results()
    names = [contender.name for contender in results.contenders if contender.name != BASELINE]
    if name not in names:
        raise ParamsError(
            f"--adopt {name[:60]!r}: the last tournament had no such contender{did_you_mean(name, names)}",
            f"Name one of {', '.join(names)}.",
        )
    contender = next(contender for contender in results.contenders if contender.name == name)
    with project_lock("labelfactory tournament --adopt"):
        changes = change_params([nested(contender.overlay)], "choose another contender", whole_methods=True)
    if not changes:
        say("tournament: params.yaml has these values already")
        return
    say("\n".join([f"tournament: params.yaml has the parameters of {name}", *(f"  {change}" for change in changes)]))
    say("next: `labelfactory run`")


def _record(results: Results) -> None:
    """Into the ledger and MLflow; a problem is printed, not raised."""
    try:
        record_tournament(results)
    except UserError as error:
        say(f"record: {error.problem}; the tournament was not recorded")
        return
    delivered = deliver()
    if delivered.waiting:
        say(f"record: {delivered.waiting} records wait in data/ledger/outbox: {delivered.why}")


def _print_forecast(wish: Wish) -> None:
    from flows.tournament import forecast  # as above

    planned, costs, expected = forecast(wish)
    table = Table(title="What it would cost, about", title_justify="left", title_style="bold")
    table.add_column("contender")
    table.add_column("time", justify="right")
    for name, standing in planned.standings.items():
        table.add_row(escape(name), escape(standing.problem) or in_time(costs[name]))
    table.add_row("all", in_time(sum(costs.values())))
    Console().print(table)
    rounds = ", then ".join(str(plan) for plan in planned.plans)
    typer.echo(
        f"Until {planned.course.until}: {rounds}. What contenders share is counted once, with the first of them."
    )
    if expected.unknown:
        names = ", ".join(sorted(expected.unknown))
        typer.echo(f"Not counted, since they never ran here: {names}. `labelfactory run` tells their pace.")


def _print(results: Results) -> None:
    """The table, what to do, and where the report is."""
    table = Table(title=f"Tournament: {results.title}", title_justify="left", title_style="bold")
    right = {1, 2}
    shown = [k for k, head in enumerate(heads(results)) if head != "parameters"]
    for k in shown:
        table.add_column(escape(heads(results)[k]), justify="right" if k in right else "left", overflow="fold")
    for row in rows(results):
        table.add_row(*(escape(row[k]) for k in shown))
    Console().print(table)
    seeds = f"{len(results.seeds)} seeds" if len(results.seeds) > 1 else "1 seed"
    typer.echo(f"{results.until} of {results.images} photographs of the list {results.split}, {seeds}.")
    said = verdict(results)
    typer.echo("\n".join([said.sentence, *said.remarks, *warnings(results)]))
    if said.command:
        typer.echo(f"Type `{said.command}`.")
    typer.echo(f"Results: {RESULTS}; report: {REPORT}")
