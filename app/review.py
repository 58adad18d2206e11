"""`labelfactory review sample | list | points | estimate`: how good the masks are, from a few that a person audits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exports._audit_folder import write_audit_folder
from labelfactory.console import first_of, say, show
from labelfactory.dataset.audits import SAMPLE, Sample, read_points, read_sample, write_points, write_sample
from labelfactory.dataset.level_record import LEVEL, Figure, LevelOf, LevelRecord, write_level
from labelfactory.dataset.prepared import Dataset, read_dataset
from labelfactory.dataset.withdrawn import without_withdrawn
from labelfactory.errors import DataError
from labelfactory.level.interval import FEWEST
from labelfactory.review.estimate import Answers, answers_of, estimate_level
from labelfactory.review.sample import add_to_sample, draw_sample
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.deliver import deliver
from lineage.ledger import Ledger
from lineage.level import record_level
from lineage.record import record
from sources.audit_points import read_point_answers

cli = typer.Typer(help="How good the masks are, from a few that a person audits.", no_args_is_help=True)

COUNT = 50
SHOWN = 10


@cli.command()
def sample(
    count: Annotated[int | None, typer.Option(help=f"Images to draw. Default: {COUNT}.", min=1)] = None,
    points: Annotated[
        int | None, typer.Option(help="Random pixels to answer in each image, in place of drawing its mask.", min=0)
    ] = None,
    name: Annotated[str, typer.Option("--list", help="The list to draw from. Default: the training list.")] = "",
    seed: Annotated[int, typer.Option(help="Of the random numbers that each image keeps.")] = 0,
    more: Annotated[int | None, typer.Option(help="Add so many images to the sample that there is.", min=0)] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Draw anew. Answers stay, and count where drawn again.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="New folder for the photographs to audit, a legend, and the points.")
    ] = None,
) -> None:
    """Draw the images that a person audits, each with a known chance; or add to them."""
    dataset = without_withdrawn(read_dataset())
    known = read_sample() if SAMPLE.exists() and not anew else None
    if known is None and more is not None:
        raise DataError("--more adds to a sample, and none was drawn", "Type `labelfactory review sample --count 50`.")
    if known is not None and more is None and (count is not None or out is None):
        answers = answers_of(known, dataset)
        answered = len(answers.masks) + len(answers.points)
        raise DataError(
            f"a sample of {len(known.drawn)} images is open, {answered} of them audited",
            "Add to it with `labelfactory review sample --more 20`, write its photographs with `--out DIR`, "
            "or draw another one with `--anew`.",
        )
    if known is None:
        drawn = draw_sample(dataset, name or dataset.train_list, count=count or COUNT, seed=seed, points=points or 0)
    elif more is not None:
        drawn = add_to_sample(known, dataset, more=more, points=points)
    else:
        drawn = known
    if drawn is not known:
        write_sample(drawn)
        _say_drawn(drawn, known, dataset)
    open_ids = _open(drawn, answers_of(drawn, dataset), dataset)
    if out is not None and open_ids:
        write_audit_folder(out, drawn, dataset, open_ids)
        say(
            f"review: {out} has the photographs of {len(open_ids)} images, a legend{' and points.csv' if drawn.points else ''}"
        )
    _say_next(drawn, open_ids, out)


@cli.command("list")
def list_() -> None:
    """List the images of the sample, and whether each has an answer."""
    drawn, dataset = read_sample(), without_withdrawn(read_dataset())
    answers = answers_of(drawn, dataset)
    open_ids = set(_open(drawn, answers, dataset))
    for image in drawn.drawn:
        state = "to audit" if image.image_id in open_ids else "not in use: its photograph has changed, or it is gone"
        state = "mask drawn" if image.image_id in answers.masks else state
        state = "points answered" if image.image_id in answers.points else state
        show(f"{image.image_id}  {state}")


@cli.command()
def points(
    path: Annotated[Path, typer.Argument(metavar="FILE.csv", help="points.csv with a class in each answer.")],
) -> None:
    """Take answers at the points that were drawn."""
    dataset, drawn = without_withdrawn(read_dataset()), read_sample()
    found = read_point_answers(path, drawn, dataset)
    known = read_points()
    if found.images:
        write_points((known | found.images).values())
    for image_id, empty in found.unfinished.items():
        say(f"review: {image_id}: {empty} points have no answer yet, so that it does not count")
    again = sum(image_id in known for image_id in found.images)
    say(f"review: the points of {len(found.images)} images are answered{f', {again} of them again' if again else ''}")
    _say_next(drawn, _open(drawn, answers_of(drawn, dataset), dataset), None)


@cli.command()
def estimate(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate mIoU and IoU of each class of masks and model, with 95 % intervals, from what was audited."""
    dataset = without_withdrawn(read_dataset())
    level = estimate_level(dataset)
    write_level(level)
    _record(level)
    if as_json:
        show(level.model_dump_json(indent=2))
        return
    console = Console()
    print_level(console, level, dataset.classes.with_background)
    for note in notes_of(level, dataset):
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def _record(level: LevelRecord) -> None:
    """Keep an estimate in the ledger, and send it to MLflow."""
    ledger = Ledger()
    record()
    record_level(level, ledger)
    delivered = deliver()
    if delivered.waiting:
        say(f"review: {delivered.waiting} records wait: {delivered.why}; the next `labelfactory record` tries again")


def print_level(console: Console, record: LevelRecord, names: tuple[str, ...]) -> None:
    """Print the estimate as a table."""
    by_points = f", {record.by_points} by points" if record.by_points else ""
    title = f"Estimated from {record.audited} audited images of {record.population} on {record.list}{by_points}"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("IoU, %")
    table.add_column("audited", justify="right")
    for what in record.estimates:
        table.add_column(what, justify="right")
        table.add_column("95 %", justify="right")
    levels = list(record.estimates.values())
    table.add_row(
        "mIoU", str(record.audited), *_cells([level.miou for level in levels]), style="bold", end_section=True
    )
    for name in names:
        figures = [level.iou.get(name) for level in levels]
        images = max((figure.images for figure in figures if figure is not None), default=0)
        table.add_row(escape(name), str(images), *_cells(figures))
    console.print(table)


def notes_of(record: LevelRecord, dataset: Dataset) -> list[str]:
    """What a person must know about an estimate, a sentence each."""
    notes = [
        note for level in record.estimates.items() for note in _notes_of(*level, names=dataset.classes.with_background)
    ]
    notes += [f"{count} audited images do not count: {reason}." for reason, count in record.lost.items()]
    if record.not_covered:
        notes.append(
            f"{record.not_covered} images of {record.list} came after the sample was drawn, and the estimate is not of them: "
            "`labelfactory review sample --more 10` takes them in."
        )
    corrected = _corrected(dataset) & {image.image_id for image in read_sample().images if image.is_drawn}
    if corrected:
        notes.append(
            f"{len(corrected)} images of the sample have a mask that a person corrected ({first_of(sorted(corrected), 3)}). "
            "If they were corrected because they were in the sample, the masks of the rest are worse than this says: "
            "draw more with --more."
        )
    notes.append("`labelfactory run evaluate --force` writes it into the HTML report.")
    notes.append(f"Kept in {LEVEL} with the digests that it was measured on; seed {record.seed}.")
    return notes


def _corrected(dataset: Dataset) -> set[str]:
    """Images whose mask on disk is one that a person drew: a correction since is in no mask, and one that was removed still is."""
    rows = RowReader(DATA / read_wiring().masks.noun, dataset)
    return {image_id for image_id in rows.states if rows.made_of[image_id].correction}


def _notes_of(what: str, level: LevelOf, *, names: tuple[str, ...]) -> list[str]:
    notes = []
    few = [name for name, figure in level.iou.items() if figure.images < FEWEST]
    if few:
        notes.append(f"{what}: no interval of {_and(few)}: fewer than {FEWEST} audited images.")
    missing = [name for name in names if name not in level.iou]
    if missing:
        notes.append(
            f"{what}: the mIoU is without {_and(missing)}, of which no audited image shows or predicts anything."
        )
    half, without = level.miou.half, level.half_without
    if half is None:
        notes.append(f"{what}: fewer than {FEWEST} audited images give no interval.")
        return notes
    if not level.expected:
        notes.append(f"{what}: no rows of expected quality (data/quality), so that this is the plain estimate (λ = 0).")
    elif without is not None:
        notes.append(
            f"{what}: with expected areas ± {100 * half:.1f} points, without ± {100 * without:.1f} (λ = {level.weight:.2f})."
        )
    if level.more:
        notes.append(f"{what}: about {level.more} more audited images would give ± 2 points.")
    elif level.more is None:
        notes.append(f"{what}: points alone do not give ± 2 points; draw masks, or more points.")
    return notes


def _cells(figures: list[Figure | None]) -> list[str]:
    cells = []
    for figure in figures:
        cells.append("–" if figure is None else f"{100 * figure.value:.1f}")
        if figure is None or figure.low is None or figure.high is None:
            cells.append("" if figure is None else "unknown")
        else:
            cells.append(f"{100 * figure.low:.1f} – {100 * figure.high:.1f}")
    return cells


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _or(names: list[str]) -> str:
    return " or ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), names[-1]])


def _open(drawn: Sample, answers: Answers, dataset: Dataset) -> list[str]:
    """Images of the sample that a person can audit and that have no answer yet, in order."""
    now = {record.image_id: record.sha256 for record in dataset.usable if drawn.list in record.lists}
    return [i.image_id for i in drawn.drawn if i.image_id not in answers and now.get(i.image_id) == i.photograph]


def _say_drawn(drawn: Sample, before: Sample | None, dataset: Dataset) -> None:
    if before is not None:
        say(f"review: {drawn.draws[-1]} images were added, {len(drawn.drawn)} of {len(drawn.images)} are in the sample")
    else:
        strata = len({image.stratum for image in drawn.images})
        say(
            f"review: {len(drawn.drawn)} of {len(drawn.images)} images of {drawn.list} are in the sample: {strata} strata "
            f"by rarest tag and expected error, seed {drawn.seed}"
        )
    chosen = {image.image_id for image in drawn.drawn}
    shown = {tag for record in dataset.usable if record.image_id in chosen for tag in record.tags}
    if missing := [name for name in drawn.classes if name not in shown]:
        say(f"review: no image of the sample has the tag {_or(missing)}: nothing will be known of it")


def _say_next(drawn: Sample, open_ids: list[str], out: Path | None) -> None:
    if not open_ids:
        say(
            "review: every image of the sample has an answer; `labelfactory review estimate` says how good the masks are"
        )
        return
    lines = [f"review: {len(open_ids)} images are to be audited: {first_of(open_ids, SHOWN)}"]
    if out is None:
        lines.append("  labelfactory review sample --out DIR       writes their photographs and a legend")
    lines.append("  labelfactory corrections add PATH --audit  takes the masks that you draw of them")
    if drawn.points:
        lines.append("  labelfactory review points FILE.csv        takes what you answer in points.csv")
    lines.append("  labelfactory review estimate               says how good the masks are, from those that are done")
    say("\n".join(lines))
