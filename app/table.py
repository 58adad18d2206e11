"""The line as one table: stage, output, seconds, mIoU on each list."""

from rich.console import Console
from rich.table import Table

from flows.line.summary import REPORT, LineSummary


def print_table(summary: LineSummary) -> None:
    """Print the table and the path of the report."""
    table = Table(title="The line", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("what it made", overflow="fold")
    table.add_column("seconds", justify="right")
    for split in summary.splits:
        table.add_column(f"mIoU {split}, %", justify="right")
    for stage in summary.stages:
        table.add_row(stage.name, stage.made, "" if stage.seconds is None else f"{stage.seconds:.1f}", *stage.scores)
    table.add_section()
    table.add_row("", "all stages, each stage's last run", f"{summary.seconds:.1f}")
    console = Console()
    console.print(table)
    for note in summary.notes:
        console.print(note)
    if REPORT.exists():
        console.print(f"Report: {REPORT}{'' if summary.is_current else ', of earlier outputs'}", soft_wrap=True)
