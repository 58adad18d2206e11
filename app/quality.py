"""`labelfactory quality`: how good the masks probably are, by class, without a true mask."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labelfactory.console import one_line
from labelfactory.dataset.prepared import read_dataset
from labelfactory.errors import MissingError
from labelfactory.rows.quality_summary import QualitySummary, summary_of
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.level_now import level_sentence, present_classes

BAR = 25
"""Characters of the longest bar."""
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
    console = Console()
    console.print(table_of(found))
    console.print(worst_of(found))
    for sentence in found.sentences(present_classes(read_wiring().masks.noun)):
        console.print(escape(one_line(sentence)))
    if found.unrated:
        console.print(f"{found.unrated} masks on disk are not rated; `labelfactory run` rates them.")
    console.print(escape(one_line(level_sentence())))
    console.print("The pages of `labelfactory serve` show them, worst first.")


def table_of(found: QualitySummary) -> Table:
    """A row for each class, and one for all masks."""
    title = "How good the masks probably are, without a true mask"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("class")
    table.add_column("masks", justify="right")
    table.add_column("expected IoU, %", justify="right")
    table.add_column("")
    for each in found.classes:
        cells = (f"{100 * each.iou:.1f}", _bar(each.iou)) if each.images else ("", "")
        table.add_row(escape(one_line(each.name)), f"{each.images:,}", *cells)
    table.add_section()
    table.add_row("mean of all masks", f"{len(found.masks):,}", f"{100 * found.mean:.1f}", _bar(found.mean))
    return table


def worst_of(found: QualitySummary) -> Table:
    """The worst masks of all and of each class, worst first."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("worst of all", escape(one_line(", ".join(mask.image_id for mask in found.masks[:WORST]))))
    for each in found.classes[1:]:
        if each.worst:
            table.add_row(f"of {escape(one_line(each.name))}", escape(one_line(", ".join(each.worst))))
    return table


def _bar(share: float) -> str:
    return "█" * round(share * BAR)
