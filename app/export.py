"""`labelfactory export FORMAT`: masks and photographs in other tools' formats."""

from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from exports._selection import Selection
from exports._write import export as write_export
from exports._write import formats, has_objects
from labelfactory.console import say
from labelfactory.errors import ChangedMeanwhileError, UserError, did_you_mean
from labelfactory.specks import MIN_AREA


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
            help="Leave out masks below this quality: the expected mIoU; of predictions the mean best probability.",
            min=0,
            max=1,
        ),
    ] = 0.0,
    min_area: Annotated[
        int | None,
        typer.Option(
            help=f"Leave out objects of fewer pixels; of {', '.join(filter(has_objects, formats()))}. Default: {MIN_AREA}.",
            min=1,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write masks and photographs for other tools, with provenance.json."""
    if name not in formats():
        raise UserError(f"{name!r} is not a format{did_you_mean(name, formats())}", f"Choose {', '.join(formats())}.")
    if min_area is not None and not has_objects(name):
        raise UserError(
            f"--min-area: {name} has no objects, and keeps every pixel of a mask",
            f"Leave it out, or choose {', '.join(filter(has_objects, formats()))}.",
        )
    selection, provenance = _written(
        name, out, lambda: Selection(what.value, split=split, min_quality=min_quality, min_area=min_area or MIN_AREA)
    )
    facts = provenance["facts"]
    error = facts.get("pixel_error")
    polygons = "" if error is None else f"; as polygons {100 * error:.3f} % of the pixels differ"
    left = len(selection.records) - len(provenance["images"])
    below = f", {left} below the quality left out" if left else ""
    if selection.not_rated:
        below += f" ({selection.not_rated} of them were not rated: `labelfactory run` does it)"
    say(f"export: {len(provenance['images'])} {what.value} in {out} as {name}{below}{polygons}")
    for line in _left_out(facts):
        say(f"  {line}")


def _written(name: str, out: Path, select: Callable[[], Selection]) -> tuple[Selection, dict[str, Any]]:
    """What went out and its provenance: as often begun again as another command takes something of it away."""
    met: set[str] = set()
    while True:
        selection = select()
        try:
            return selection, write_export(name, selection, out)
        except ChangedMeanwhileError as meanwhile:
            if meanwhile.problem in met:  # a damaged row looks so each time
                raise
            met.add(meanwhile.problem)
            say(f"export: {meanwhile.problem}; it begins again")


def _left_out(facts: dict[str, Any]) -> Iterator[str]:
    """What an export left out or put in, beside the masks that were asked for."""
    if facts.get("specks_left_out"):
        alone = facts["photographs_with_specks_alone"]
        yield (
            f"{facts['objects']} objects; {facts['specks_left_out']} specks of fewer than {facts['min_area']} pixels left out "
            f"({facts['speck_pixels_left_out']} pixels; --min-area 1 keeps them)"
            + (f"; {alone} photographs have specks alone, so no object" if alone else "")
        )
    validation = facts.get("validation", {})
    if "predicted" in validation:
        yield f"{len(validation['predicted'])} photographs of the list {validation['list']!r}: the segmenter's predictions"
    elif "why" in validation:
        yield f"val is the training list too: {validation['why']}"
