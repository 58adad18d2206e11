"""The line as one table: stage, what it made, seconds, mIoU on each list."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from labelfactory.wiring import read_wiring
from reporting.phrases import what_it_made

REPORTS = Path("data/reports")
METRICS = Path("data/evaluation/metrics.json")
REPORT = Path("data/evaluation/report.html")
SCORED_AS = {
    "extract_cams": "seeds",
    "random_walk": "walks",
    "refine_crf": "masks",
    "train_segmenter": "model",
    "train_upper_bound": "upper_bound",
}
"""Whose mIoU stands on which stage's line."""


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; empty where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def print_table() -> None:
    """Print the table and the path of the report."""
    metrics = read_json(METRICS)
    splits = sorted({key.split("/")[1] for key in metrics if key.startswith("miou/")})
    table = Table(title="The line", title_justify="left", title_style="bold")
    table.add_column("stage")
    table.add_column("what it made", overflow="fold")
    table.add_column("seconds", justify="right")
    for split in splits:
        table.add_column(f"mIoU {split}, %", justify="right")
    total = 0.0
    for name in read_wiring():
        report = read_json(REPORTS / f"{name}.json")
        if not report:
            table.add_row(name, "never run", "", *("" for _ in splits))
            continue
        total += report["seconds"]
        scores = [metrics.get(f"miou/{split}/{SCORED_AS.get(name, '')}") for split in splits]
        shown = ["" if score is None else f"{100 * score:.1f}" for score in scores]
        table.add_row(name, what_it_made(report), f"{report['seconds']:.1f}", *shown)
    table.add_section()
    table.add_row("", "all stages, each stage's last run", f"{total:.1f}")
    console = Console()
    console.print(table)
    if metrics and not metrics["true_masks"]:
        console.print("There are no true masks, so nothing was scored.")
    if "fraction_of_supervised" in metrics:
        console.print(f"Of full supervision: {100 * metrics['fraction_of_supervised']:.1f} %")
    if REPORT.exists():
        console.print(f"Report: {REPORT}", soft_wrap=True)
