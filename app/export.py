"""`labelfactory export FORMAT`: masks and photographs in other tools' formats."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from exports._selection import Selection
from exports._write import export as write_export
from exports._write import formats
from labelfactory.console import say
from labelfactory.errors import UserError, did_you_mean


class What(StrEnum):
    """The content of an export."""

    MASKS = "masks"
    PREDICTIONS = "predictions"


def export(
    name: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {', '.join(formats())}.")],
    out: Annotated[Path, typer.Option(help="Folder; an earlier export there is replaced.")],
    split: Annotated[str, typer.Option(help="A list, such as train. Default: all photographs.")] = "",
    what: Annotated[What, typer.Option(help="The line's masks, or predictions of the trained segmenter.")] = What.MASKS,
    min_quality: Annotated[
        float,
        typer.Option(
            help="Leave out masks below this quality: agreement of walk and CRF; of predictions the mean best probability.",
            min=0,
            max=1,
        ),
    ] = 0.0,
) -> None:
    """Write masks and photographs for other tools, with provenance.json."""
    if name not in formats():
        raise UserError(f"{name!r} is not a format{did_you_mean(name, formats())}", f"Choose {', '.join(formats())}.")
    selection = Selection(what.value, split=split, min_quality=min_quality)
    provenance = write_export(name, selection, out)
    error = provenance["facts"].get("pixel_error")
    polygons = "" if error is None else f"; as polygons {100 * error:.3f} % of the pixels differ"
    left = len(selection.records) - len(provenance["images"])
    below = f", {left} below the quality left out" if left else ""
    say(f"export: {len(provenance['images'])} {what.value} in {out} as {name}{below}{polygons}")
