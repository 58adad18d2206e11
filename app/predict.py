"""`labelfactory predict IMAGE…`: the trained segmenter on new pictures, from its checkpoint alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from exports._predicted import REMEDY, make_ready, refuse_others, write_predicted
from exports._predictor import SCALES, Predictor
from labelfactory.console import say
from labelfactory.dataset.images import decode_photograph
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS, FileRefusedError, photographs_below, read_file, remedy
from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.names import file_name
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, Mask
from reporting.pictures import shares

FAR = 1
"""Distance beyond which a picture is noted: farther than 99 % of those that were learnt from."""
EXAMPLES = 3
"""Names of far pictures in the note."""


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for <name>.png, the mask, and <name>_overlay.jpg; earlier results there are replaced."
        ),
    ],
    checkpoint: Annotated[Path, typer.Option(help="A segmenter's checkpoint.")] = Path("data/segmenter") / CHECKPOINT,
    scales: Annotated[str, typer.Option(help="Scales of the photograph, with commas.")] = ",".join(map(str, SCALES)),
    flip: Annotated[bool, typer.Option(help="Also use the mirror image.")] = True,
) -> None:
    """Segment new pictures: a mask of class ids and a picture with the mask over it."""
    counts: Counter[str] = Counter()
    paths = _files(images, counts)
    if counts:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        say("; ".join(filter(None, [f"predict: passed over, as no pictures: {kinds}", remedy(counts)])))
    named = _names(paths)
    refuse_others(out, named, paths)
    predictor = Predictor(checkpoint, scales=_scales(scales), flip=flip)
    make_ready(out, named)
    bad: list[str] = []
    kept: list[str] = []
    lines: list[str] = []
    far: list[str] = []
    with progress("predict", len(paths), keeps=True) as tick:
        for name, path in named.items():
            try:
                photograph = decode_photograph(read_file(path))
            except FileRefusedError as error:
                bad.append(error.problem)
                continue
            except DataError as error:
                bad.append(f"{path}: {error.problem}")
                continue
            mask, confidence = predictor.predict(photograph)
            try:
                size = write_predicted(out, name, photograph, mask)
            except DataError as error:
                kept.append(error.problem)
                continue
            distance = predictor.distance(photograph)
            lines.append(f"  {path}: {_found(mask, predictor.classes)}; {_figures(confidence, distance)}")
            if distance is not None and distance > FAR:
                far.append(str(path))
            tick(size=size)
    say("\n".join([f"predict: {len(lines)} masks in {out}", *lines]))
    if far:
        examples = ", ".join([*far[:EXAMPLES], *(["…"] if len(far) > EXAMPLES else [])])
        say(
            f"predict: {len(far)} of {len(lines)} pictures are far from the photographs that the network learnt from "
            f"(distance above {FAR}), and their masks may be wrong altogether: {examples}"
        )
    problems = [("pictures are not readable", bad, "Replace these."), ("results stay as they are", kept, REMEDY)]
    if bad or kept:
        raise DataError(
            "\n".join("\n  ".join([f"{len(each)} {what}", *each]) for what, each, _ in problems if each),
            " ".join(mend for _, each, mend in problems if each),
        )


def _found(mask: Mask, classes: Sequence[str]) -> str:
    """The classes of a mask and their shares of the pixels."""
    found = [f"{classes[k]} {100 * share:.1f} %" for k, share in shares(mask).items() if k != BACKGROUND]
    return ", ".join(found) or "background alone"


def _figures(confidence: float, distance: float | None) -> str:
    return f"confidence {confidence:.2f}" + (f"; distance {distance:.2f}" if distance is not None else "")


def _files(images: Sequence[Path], counts: Counter[str]) -> list[Path]:
    """The pictures: those that are named, and those in folders that are named, not deeper; `counts` gets what is passed over."""
    paths: list[Path] = []
    for path in images:
        inside = list(photographs_below(path, counts, deep=False)) if path.is_dir() else [path]
        if not inside:
            raise DataError(
                f"{path}: contains no picture ({', '.join(PHOTOGRAPHS)})",
                f"Name pictures or a folder of them{'; ' + remedy(counts) if remedy(counts) else ''}.",
            )
        paths += inside
    return list(dict.fromkeys(paths))


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """File name → picture; a number is appended where several have the same name."""
    named: dict[str, Path] = {}
    for path in paths:
        name, number = file_name(path.stem), 1
        while name in named:
            number += 1
            name = f"{file_name(path.stem)}~{number}"
        named[name] = path
    return named


def _scales(text: str) -> list[float]:
    try:
        scales = [float(word) for word in text.split(",")]
    except ValueError:
        scales = []
    if not scales or not all(0.1 <= scale <= 4 for scale in scales):
        raise DataError(
            f"--scales {text!r}: each must be a number between 0.1 and 4", "Type it like this: --scales 0.75,1,1.25"
        )
    return scales
