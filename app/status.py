"""`labelfactory status`: per stage up to date, stale and why, asked again with nothing to do, or never run; or the run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.line.kept_answers import kept
from flows.line.planned import Cost, StageState, in_words
from flows.line.under_way import at_work, under_way
from labelfactory.console import one_line
from labelfactory.errors import DataError, UserError
from labelfactory.lock import BusyError
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.reports import read_report
from labelfactory.settings.wiring import last_runs, read_wiring
from labelfactory.store.entries import STORE, held_in_words

SHOWN = 6
"""Number of reasons that are shown per stage."""
FOLLOWS = "follows"
"""State of a stage that is up to date for DVC, but follows a stale one and will run."""
IDLE = "asked again, nothing to do"
"""State of a stage that is stale for DVC, but whose rows or network have the keys that they should have."""
COLOURS = {
    "up to date": "green",
    IDLE: "green",
    "stale": "yellow",
    FOLLOWS: "yellow",
    "never run": "cyan",
    "frozen": "blue",
}


def status() -> None:
    """Show whether each stage is up to date, and if not, why; while a run is under way, how far it is."""
    table = Table(title="The line", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("rows", justify="right")
    table.add_column("minutes", justify="right")
    table.add_column("why", overflow="fold")
    try:
        look = None if at_work() else look_at_line()  # a run that ends a stage waits only seconds for DVC's lock
    except BusyError:
        look = None
    if look is None:
        _say_run(Console())
        return
    states, planned = look.states, look.planned
    for stage in states:
        reasons = list(stage.reasons[:SHOWN])
        if len(stage.reasons) > SHOWN:
            reasons.append(f"and {len(stage.reasons) - SHOWN} more")
        cost = planned.get(stage.name, Cost(stage.name, runs=False))
        rows = f"{cost.rows}" if cost.rows else ""
        minutes = "?" if cost.seconds is None else f"{cost.seconds / 60:.1f}" if cost.runs else ""
        state = _state(stage, planned)
        table.add_row(stage.name, f"[{COLOURS[state]}]{state}[/]", rows, minutes, escape("\n".join(reasons)))
    console = Console()
    console.print(table)
    if look.imported:
        console.print(escape("\n".join(look.imported)), soft_wrap=True, highlight=False)
    left_out = [*look.left_out, *_quarantined()]
    if left_out:
        more = [f"  and {len(left_out) - SHOWN} more"] if len(left_out) > SHOWN else []
        lines = [f"{len(left_out)} left out:", *(f"  {line}" for line in left_out[:SHOWN]), *more]
        console.print(escape("\n".join(lines)), soft_wrap=True, highlight=False)
    if STORE.exists():
        console.print(f"{held_in_words()}: `labelfactory gc`.", soft_wrap=True, highlight=False)
    rows = max(read_report(state.name).get("rows_quarantined", 0) for state in states)
    if rows:
        console.print(f"{rows} images are in quarantine: `labelfactory quarantine list` says why.")
    shown = [_state(stage, planned) for stage in states]
    stale = [state for state in shown if state in ("stale", "never run")]
    if stale:
        console.print(
            f"`labelfactory run` brings {len(stale)} of {len(states)} stages up to date, and what follows them."
        )
        _say_costs(console, look)
    elif IDLE in shown:
        console.print(
            f"`labelfactory run` asks {shown.count(IDLE)} of {len(states)} stages again; nothing is to be done."
        )
    else:
        console.print("Everything is up to date.")


@dataclass(frozen=True)
class Look:
    """What takes time to find out.

    Attributes:
        states: of the stages, in the order of the line.
        planned: cost of a run by stage; empty if params.yaml or the import is not readable, which `run` reports.
        frozen: the same of a run that trains nothing; empty where there is nothing to do, or no network yet.
        refused: why there is no such run, for a network of other classes; else empty.
        imported: the import's account in a line, and what it warned of.
        left_out: photographs that the import left out, a line each.
    """

    states: list[StageState]
    planned: dict[str, Cost]
    frozen: dict[str, Cost]
    refused: str
    imported: list[str]
    left_out: list[str]


def look_at_line() -> Look:
    """What DVC, the keys of rows and the import say; what they said last time where nothing has changed since.

    Raises:
        BusyError: a run is between two stages.
    """
    found = kept(["status"], lambda: asdict(_look_at_line()))
    states = [StageState(state["name"], state["state"], tuple(state["reasons"])) for state in found["states"]]
    planned, frozen = ({name: Cost(**cost) for name, cost in found[key].items()} for key in ("planned", "frozen"))
    return Look(states, planned, frozen, found["refused"], found["imported"], found["left_out"])


def _look_at_line() -> Look:
    from flows.line.stage_states import line_status  # DVC, which takes a second to load
    from labelfactory.dataset.left_out import read_left_out

    read_yaml(Path(PARAMS_FILE))  # DVC would list every parameter of an unreadable file
    states = line_status()
    planned, frozen = _costs(states, retrain=True), {}
    shown = [_state(stage, planned) for stage in states]
    if {"stale", "never run"} & set(shown) and set(read_wiring().learning) <= set(last_runs()):
        frozen = _costs(states, retrain=False)
    return Look(states, planned, frozen, _refused(), _import_in_lines(), [item.line for item in read_left_out()])


def _refused() -> str:
    """Why the networks cannot label the import as they are; empty where they can, or where nothing was imported."""
    from labelfactory.dataset.manifest import imported_classes
    from labelfactory.stage.preflight import check_kept_networks

    try:
        check_kept_networks(imported_classes().names)
    except DataError as error:
        return error.problem
    except UserError:
        pass
    return ""


def _import_in_lines() -> list[str]:
    from labelfactory.dataset.account import read_account
    from reporting.imports import in_one_line

    account = read_account()
    if account is None:
        return []
    more = [f"and {len(account.warnings) - SHOWN} more warnings"] if len(account.warnings) > SHOWN else []
    warnings = [f"warning: {warning}" for warning in account.warnings[:SHOWN]]
    return [one_line(line) for line in (f"The import: {in_one_line(account)}", *warnings, *more)]


def _say_run(console: Console) -> None:
    """Print the run that is under way; which stages are stale is known when its stage has ended."""
    console.print("A run is under way.", style="bold")
    for line in under_way():
        console.print(f"  {escape(line)}", soft_wrap=True, highlight=False)
    console.print("Which stages are stale is asked when it has ended.")


def _state(stage: StageState, planned: Mapping[str, Cost]) -> str:
    """What a run will find: DVC's word, unless the keys know better."""
    cost = planned.get(stage.name)
    if cost is not None and cost.runs and stage.state == "up to date":
        return FOLLOWS
    return IDLE if cost is not None and not cost.runs and stage.state == "stale" else stage.state


def _costs(states: Sequence[StageState], *, retrain: bool) -> dict[str, Cost]:
    if all(state.state == "up to date" for state in states):
        return {state.name: Cost(state.name, runs=False) for state in states}
    from flows.line.cost import costs  # torch, which takes seconds to load

    try:
        return {cost.stage: cost for cost in costs(states, retrain=retrain)}
    except UserError:
        return {}


def _say_costs(console: Console, look: Look) -> None:
    """Print the costs of a run with and without training."""
    console.print(f"  labelfactory run: {in_words(list(look.planned.values()))}", soft_wrap=True, highlight=False)
    if set(read_wiring().learning) <= set(last_runs()):
        without = look.refused or in_words(list(look.frozen.values()))
        console.print(f"  labelfactory run --no-retrain: {without}", soft_wrap=True, highlight=False)


def _quarantined() -> list[str]:
    """Photographs that the last run of `prepare` quarantined."""
    return list(read_report("prepare").get("quarantined_images", []))
