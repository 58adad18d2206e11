"""`labelfactory package`: the segmenter as one ONNX file, checked against torch on real photographs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from exports._package import write_package
from labelfactory.console import say
from labelfactory.dataset.images import Photograph, decode_photograph
from labelfactory.dataset.prepared import IMAGES, read_dataset
from labelfactory.errors import DataError
from labelfactory.foreign_files import FileRefusedError, read_file
from labelfactory.learning.checkpoints import CHECKPOINT

CHECKED = 8
"""Number of photographs of the data set that check the file."""


def package(
    out: Annotated[Path, typer.Option(help="The file.")] = Path("segmenter.onnx"),
    checkpoint: Annotated[Path, typer.Option(help="A segmenter's checkpoint.")] = Path("data/segmenter") / CHECKPOINT,
    check: Annotated[
        list[Path] | None, typer.Option(help=f"Picture to check it with. Default: {CHECKED} of the data set.")
    ] = None,
) -> None:
    """Write an ONNX file of the segmenter with its classes and normalisation inside."""
    say(f"package: {checkpoint} becomes {out}; about a minute, about twice the checkpoint's size on the disk")
    checked = write_package(checkpoint, out, _given(check) if check else _of_the_data_set())
    say(
        f"package: {out}, {out.stat().st_size / 1e6:.1f} MB; on {checked.images} photographs {100 * checked.same_pixels:.3f} % "
        f"of the pixels equal torch's, probabilities within {checked.worst_confidence:.1g}"
    )


def _given(paths: list[Path]) -> Iterator[Photograph]:
    for path in paths:
        try:
            yield decode_photograph(read_file(path))
        except FileRefusedError as error:
            raise DataError(error.problem, "Name pictures that can be read.") from None
        except DataError as error:
            raise DataError(f"{path}: {error.problem}", "Name pictures that can be read.") from None


def _of_the_data_set() -> Iterator[Photograph]:
    """Photographs of the data set, scored ones first."""
    if not IMAGES.exists():
        raise DataError(f"{IMAGES}: there is no data set to check the file with", "Name pictures: --check PICTURE.")
    usable = sorted(read_dataset().usable, key=lambda record: (record.split != "score", record.position))
    for record in usable[:CHECKED]:
        yield record.photograph()
