"""`labelfactory quality`: how good the masks probably are, by class, without a true mask."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from labelfactory.console import one_line
from labelfactory.dataset.level_record import Refit
from labelfactory.dataset.prepared import read_dataset
from labelfactory.dataset.withdrawn import without_withdrawn
from labelfactory.errors import MissingError
from labelfactory.rows.quality_summary import QualitySummary, RatedMask, summary_of
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.level_now import level_sentence, present_classes, present_refit

BAR = 25
"""Characters of the longest bar."""
WORST = 10
"""Images that are named for each class."""


def quality(as_json: Annotated[bool, typer.Option("--json", help="Print an object for each image.")] = False) -> None:
    """Show how good the masks probably are, by class and worst first; no true mask is needed."""
    masks = read_wiring().masks.noun
    rating = read_wiring().rating(masks)
    refit = present_refit(masks, rating.noun) if rating is not None else None
    found = summary_of(without_withdrawn(read_dataset()), worst=WORST, refit=refit)
    if not found.masks:
        raise MissingError("no mask has a quality yet", "Type `labelfactory run`, which rates them.")
    if as_json:
        typer.echo(json.dumps([_object(mask) for mask in found.masks], indent=2))
        return
    console = Console()
    console.print(table_of(found))
    console.print(worst_of(found))
    for sentence in found.sentences(present_classes(masks)):
        console.print(escape(one_line(sentence)))
    if found.unrated:
        console.print(f"{found.unrated} masks on disk are not rated; `labelfactory run` rates them.")
    console.print(escape(one_line(level_sentence())))
    if refit is not None:
        console.print(escape(refit_sentence(refit, found)))
    console.print("The pages of `labelfactory serve` show them, worst first.")


def _object(mask: RatedMask) -> dict[str, Any]:
    """What a program reads of one mask."""
    known = {"image_id": mask.image_id, "quality": mask.quality, "expected_iou": mask.iou}
    return known | ({"fitted_quality": mask.fitted_quality, "fitted_iou": mask.fitted} if mask.fitted else {})


def refit_sentence(refit: Refit, found: QualitySummary) -> str:
    """How far single masks' figures are off, without audits and with them."""
    return (
        f"Of {refit.images} audited masks the quality was {100 * refit.error_without:.1f} points off; fitted to the audits, each "
        f"without its own, {100 * refit.error:.1f}. Fitted, the mean of all is {100 * (found.fitted_mean or 0):.1f} %; "
        "--json has it of each mask."
    )


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
