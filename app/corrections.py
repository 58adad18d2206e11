"""`labelfactory corrections add | list | remove`: masks edited by hand, which replace the line's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from labelfactory.console import say, show
from labelfactory.dataset.changed_corrections import changing, settle
from labelfactory.dataset.corrections import (
    Correction,
    corrected_mask,
    read_corrections,
    store_mask,
    write_corrections,
)
from labelfactory.dataset.manifest import MANIFEST, read_manifest
from labelfactory.dataset.prepared import ImageRecord, read_dataset
from labelfactory.errors import DataError, MissingError, did_you_mean
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from sources._coco_objects import Crowds
from sources.corrections import Reading, find_edited

cli = typer.Typer(help="Masks edited by hand, which replace the line's.", no_args_is_help=True)

MASKS = Path("data/masks")
SHOWN = 10
RUN = "`labelfactory run` updates what depends on it"


@cli.command()
def add(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A folder or zip of PNG masks, a JSON of COCO or Label Studio, or CVAT's annotations.xml.",
        ),
    ],
    take_equal: Annotated[
        bool, typer.Option("--take-equal", help="Also take masks that equal ours, as confirmed by a person.")
    ] = False,
    nearest: Annotated[
        bool,
        typer.Option(
            "--nearest",
            help="Take pixels of no class's colour, as on a smoothed edge, and masks of another scale for the nearest.",
        ),
    ] = False,
    crowds: Annotated[
        Crowds, typer.Option("--crowds", help="What COCO annotations with iscrowd 1 are; auto: their file decides.")
    ] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all masks, write nothing.")] = False,
) -> None:
    """Take masks that were edited elsewhere; by default only those that differ from ours."""
    if not dry_run:  # which does not hold the project
        settle()
    dataset = read_dataset()
    known = read_corrections()
    rows = RowReader(MASKS)

    def current(record: ImageRecord) -> Mask | None:
        correction = known.get(record.image_id)
        if correction is not None and correction.fits(record):
            return None if take_equal else corrected_mask(correction, dataset.classes)
        return rows[record.image_id]["mask"] if record.image_id in rows else None

    reading = Reading(nearest=nearest, crowds=crowds)
    edited = find_edited(path, dataset, current, take_equal=take_equal, reading=reading)
    for decision in edited.decisions:
        say(f"corrections: {decision}")
    if edited.inexact:
        pixels = sum(edited.inexact.values())
        say(f"corrections: {pixels} pixels were not exact and are taken for the nearest: {_some(list(edited.inexact))}")
    if edited.same:
        say(f"corrections: {len(edited.same)} equal the current masks and stay unchanged")
    if not edited.masks:
        say("corrections: nothing new")
        return
    if dry_run:
        say(f"corrections: {_some(list(edited.masks))} would be corrected; nothing was written")
        return
    records = {record.image_id: record for record in dataset.training}
    with changing(edited.masks):
        for image_id, mask in edited.masks.items():
            known[image_id] = store_mask(image_id, records[image_id].sha256, mask, dataset.classes)
        write_corrections(known.values())
    say(f"corrections: {_some(list(edited.masks))} corrected, {len(known)} in all; {RUN}")


@cli.command("list")
def list_() -> None:
    """List the images with a corrected mask, and whether it is in use."""
    known = read_corrections()
    if not known:
        say("corrections: none; `labelfactory corrections add DIR` takes masks that were edited elsewhere")
        return
    entries = {entry.image_id: entry.sha256 for entry in read_manifest().entries} if MANIFEST.exists() else {}
    for image_id, correction in sorted(known.items()):
        show(f"{image_id}  {_state(correction, entries.get(image_id))}  {correction.path()}")


@cli.command()
def remove(
    image_ids: Annotated[list[str] | None, typer.Argument(help="Images by their ids in the import.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove all corrections.")] = False,
) -> None:
    """Remove corrections, so that the line makes these masks again."""
    settle()
    known = read_corrections()
    if bool(image_ids) == everything:
        raise DataError(
            "name the images, or all of them", "Type it like this: labelfactory corrections remove IMAGE_ID"
        )
    chosen = list(known) if everything else list(dict.fromkeys(image_ids or ()))
    for image_id in chosen:
        if image_id not in known:
            raise MissingError(
                f"{image_id!r} has no correction{did_you_mean(image_id, known)}",
                "Nothing was removed. Type `labelfactory corrections list`.",
            )
    if not chosen:
        say("corrections: none to remove")
        return
    with changing(chosen):
        write_corrections(correction for image_id, correction in known.items() if image_id not in chosen)
    say(f"corrections: {_some(chosen)} removed, {len(known) - len(chosen)} left; {RUN}")


def _state(correction: Correction, photograph: str | None) -> str:
    if photograph is None:
        return "not in use: the import does not have this image"
    return "in use" if photograph == correction.photograph else "not in use: the photograph has changed"


def _some(image_ids: Sequence[str]) -> str:
    """The number of masks and the first image ids."""
    more = f" and {len(image_ids) - SHOWN} more" if len(image_ids) > SHOWN else ""
    return f"{len(image_ids)} mask{'s' if len(image_ids) != 1 else ''} ({', '.join(image_ids[:SHOWN])}{more})"
