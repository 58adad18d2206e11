"""`labelfactory quality`: how good the masks probably are, by class, without a true mask."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labelfactory.console import first_of, one_line, say
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import MissingError
from labelfactory.rows.quality_summary import QualitySummary, summary_of

WORST = 10
"""Images that are named for each class."""


def quality(as_json: Annotated[bool, typer.Option("--json", help="Print an object for each image.")] = False) -> None:
    """Show how good the masks probably are, by class and worst first; no true mask is needed."""
    found = summary_of(read_dataset(), worst=WORST)
    if not found.masks:
        raise MissingError("no mask has a quality yet", "Type `labelfactory run`, which rates them.")
    if as_json:
        masks = ({"image_id": m.image_id, "quality": m.quality, "expected_iou": m.iou} for m in found.masks)
        typer.echo(json.dumps(list(masks), indent=2))
        return
    Console().print(table_of(found))
    worst = [mask.image_id for mask in found.masks[:WORST]]
    say(f"quality: of all masks the worst are {one_line(first_of(worst, WORST))}; `labelfactory serve` shows them")
    for sentence in found.sentences():
        say(f"quality: {sentence}")
    if found.unrated:
        say(f"quality: {found.unrated} masks on disk are not rated; `labelfactory run` rates them")


def table_of(found: QualitySummary) -> Table:
    """A row for each class, and one for all masks."""
    title = "How good the masks probably are, without a true mask"
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False)
    table.add_column("class")
    table.add_column("images", justify="right")
    table.add_column("expected IoU, %", justify="right")
    table.add_column("worst", overflow="fold")
    for each in found.classes:
        iou = f"{100 * each.iou:.1f}" if each.images else ""
        table.add_row(escape(one_line(each.name)), f"{each.images:,}", iou, escape(one_line(", ".join(each.worst))))
    table.add_section()
    table.add_row("mean quality of all masks", f"{len(found.masks):,}", f"{100 * found.mean:.1f}")
    return table
