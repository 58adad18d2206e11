"""`labelfactory corrections add | list | remove`: masks edited by hand, which replace the line's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from app._our_masks import OurMasks
from labelfactory.console import first_of, say, show
from labelfactory.dataset.audits import AUDITS, read_audits, read_sample, write_audits
from labelfactory.dataset.changed_corrections import AUDITED, changing, settle
from labelfactory.dataset.corrections import (
    Correction,
    read_corrections,
    store_mask,
    write_corrections,
)
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.errors import DataError, MissingError, did_you_mean
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from sources._coco_objects import Crowds
from sources._edited_forms import Reading
from sources.corrections import Edited, find_edited, says_not_to_train

cli = typer.Typer(help="Masks edited by hand, which replace the line's.", no_args_is_help=True)

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
    audit: Annotated[
        bool,
        typer.Option(
            "--audit", help="Take them as true masks of `review sample`: they score the line and replace nothing."
        ),
    ] = False,
) -> None:
    """Take masks that were edited elsewhere; by default only those that differ from ours."""
    if audit:
        _add_audits(path, Reading(nearest=nearest, crowds=crowds), dry_run=dry_run)
        return
    if not dry_run:  # which does not hold the project
        settle()
    dataset = read_dataset()
    known = read_corrections()
    ours = OurMasks(dataset, known, take_removed=take_equal)
    reading = Reading(nearest=nearest, crowds=crowds)
    edited = find_edited(
        path,
        dataset,
        ours.current,
        ours.outdated,
        take_equal=take_equal,
        reading=reading,
        refused=_not_corrected(dataset),
    )
    _say_how_read(edited)
    if edited.same:
        say(f"corrections: {len(edited.same)} equal the current masks and stay unchanged")
    if edited.outdated:
        say(
            f"corrections: {_some(edited.outdated)} equal what the line made before it was corrected or its photograph changed, "
            "or a correction that was removed, and are not taken; --take-equal takes removed ones again"
        )
    if not edited.masks:
        say("corrections: nothing new")
        return
    records = {record.image_id: record for record in dataset.training}
    replaced = [image_id for image_id, mask in edited.masks.items() if ours.is_replaced(records[image_id], mask)]
    if dry_run:
        _say_replaced(replaced, "would be replaced")
        say(f"corrections: {_some(list(edited.masks))} would be corrected; nothing was written")
        return
    with changing(edited.masks):
        for image_id, mask in edited.masks.items():
            known[image_id] = store_mask(image_id, records[image_id].sha256, mask, dataset.classes)
        write_corrections(known.values())
    _say_replaced(replaced, "are replaced")
    say(f"corrections: {_some(list(edited.masks))} corrected, {len(known)} in all; {RUN}")


def _not_corrected(dataset: Dataset) -> Callable[[ImageRecord], str]:
    """Says why the mask of an image is not taken, "" if it is: a person draws over the photograph that the import has now."""
    not_to_train = says_not_to_train(dataset)
    imported = {entry.image_id: entry.sha256 for entry in read_manifest().entries} if MANIFEST.exists() else {}

    def why_not(record: ImageRecord) -> str:
        changed = imported.get(record.image_id, record.sha256) != record.sha256
        replaced = f"the import has another photograph of {record.image_id} than the last run"
        return not_to_train(record) or (f"{replaced}; type `labelfactory run prepare` first" if changed else "")

    return why_not


def _say_how_read(edited: Edited) -> None:
    """Say what was decided where files leave it open, and which pixels were not exact."""
    for decision in edited.decisions:
        say(f"corrections: {decision}")
    if edited.inexact:
        pixels = sum(edited.inexact.values())
        say(f"corrections: {pixels} pixels were not exact and are taken for the nearest: {_some(list(edited.inexact))}")


def _add_audits(path: Path, reading: Reading, *, dry_run: bool) -> None:
    """Take true masks of sampled images; also those that equal ours, since agreeing is an answer."""
    if not dry_run:
        settle(AUDITED)
    dataset, sample = read_dataset(), read_sample()
    drawn = {image.image_id: image.photograph for image in sample.images if image.is_drawn}
    edited = find_edited(
        path,
        dataset,
        lambda record: None,
        take_equal=True,
        reading=reading,
        refused=lambda record: _not_audited(record, drawn),
    )
    _say_how_read(edited)
    if not edited.masks:
        say("corrections: no mask to take")
        return
    if dry_run:
        say(f"corrections: {_some(list(edited.masks))} would be taken as audits; nothing was written")
        return
    known = read_audits()
    again = [image_id for image_id in edited.masks if image_id in known]
    with changing(edited.masks, AUDITED):
        for image_id, mask in edited.masks.items():
            known[image_id] = store_mask(image_id, drawn[image_id], mask, dataset.classes, AUDITS)
        write_audits(known.values())
    if again:
        say(f"corrections: earlier audits are replaced: {', '.join(again)}")
    done = sum(image_id in known for image_id in drawn)
    say(
        f"corrections: {_some(list(edited.masks))} taken as audits, {done} of {len(drawn)} images of the sample have one; "
        "`labelfactory review estimate` says how good the masks are"
    )


def _not_audited(record: ImageRecord, drawn: Mapping[str, str]) -> str:
    """Why the true mask of an image is not taken; "" if it is."""
    if record.image_id not in drawn:
        return f"{record.image_id} is not in the sample: images that a person chooses say nothing of the rest"
    if record.sha256 != drawn[record.image_id]:
        changed = "its photograph has changed since the sample was drawn"
        return f"{record.image_id}: {changed}; `labelfactory review sample --more 1` draws of what is there now"
    return ""


@cli.command("list")
def list_() -> None:
    """List the images with a corrected mask, and whether it is in use."""
    known = read_corrections()
    if not known:
        say("corrections: none; `labelfactory corrections add DIR` takes masks that were edited elsewhere")
        return
    entries = {entry.image_id: entry for entry in read_manifest().entries} if MANIFEST.exists() else {}
    train_list = _train_list()
    for image_id, correction in sorted(known.items()):
        show(f"{image_id}  {_state(correction, entries.get(image_id), train_list)}  {correction.path()}")


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


def _say_replaced(image_ids: Sequence[str], verb: str) -> None:
    """Name every correction that is lost: none can be made again."""
    if image_ids:
        say(f"corrections: earlier corrections {verb}: {', '.join(image_ids)}")


def _state(correction: Correction, entry: Entry | None, train_list: str) -> str:
    if entry is None:
        return "not in use: the import does not have this image"
    if entry.sha256 != correction.photograph:
        return "not in use: the photograph has changed"
    return "in use" if train_list in ("", *entry.lists) else "not in use: the image is not on the training list"


def _train_list() -> str:
    """As params.yaml names it; empty where that does not."""
    path = Path(PARAMS_FILE)
    prepare = read_yaml(path).get("prepare") if path.exists() else None
    return str(prepare.get("train_list", "")) if isinstance(prepare, dict) else ""


def _some(image_ids: Sequence[str]) -> str:
    """The number of masks and the first image ids."""
    return f"{len(image_ids)} mask{'s' if len(image_ids) != 1 else ''} ({first_of(image_ids, SHOWN)})"
