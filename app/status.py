"""`labelfactory status`: per stage up to date, stale and why, or never run."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.line import line_status
from flows.summary import REPORTS, read_json
from labelfactory.left_out import read_left_out

SHOWN = 6
"""Reasons that are shown for one stage."""
COLOURS = {"up to date": "green", "stale": "yellow", "never run": "cyan", "frozen": "blue"}


def status() -> None:
    """Say of each stage whether it is up to date, and if not, why."""
    table = Table(title="The line", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("state")
    table.add_column("why", overflow="fold")
    states = line_status()
    for stage in states:
        reasons = list(stage.reasons[:SHOWN])
        if len(stage.reasons) > SHOWN:
            reasons.append(f"and {len(stage.reasons) - SHOWN} more")
        table.add_row(stage.name, f"[{COLOURS[stage.state]}]{stage.state}[/]", escape("\n".join(reasons)))
    console = Console()
    console.print(table)
    left_out = [item.line for item in read_left_out()] + _quarantined()
    if left_out:
        more = [f"  and {len(left_out) - SHOWN} more"] if len(left_out) > SHOWN else []
        lines = [f"{len(left_out)} left out:", *(f"  {line}" for line in left_out[:SHOWN]), *more]
        console.print(escape("\n".join(lines)), soft_wrap=True, highlight=False)
    stale = [stage.name for stage in states if stage.state in ("stale", "never run")]
    if stale:
        console.print(
            f"`labelfactory run` brings {len(stale)} of {len(states)} stages up to date, and what follows them."
        )
    else:
        console.print("Everything is up to date.")


def _quarantined() -> list[str]:
    """What `prepare` set aside when it last ran."""
    return list(read_json(REPORTS / "prepare.json").get("quarantined_images", []))
