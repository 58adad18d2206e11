"""`labelfactory import SOURCE`: say which photographs, tags and true masks the line works on."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from labelfactory.errors import DataError
from labelfactory.manifest import MANIFEST, read_manifest
from sources.demo import render_demo
from sources.intake import DEMO_FOLDER, take
from sources.voc import read_voc

cli = typer.Typer(
    help="Import photographs, tags and true masks; `labelfactory run` does the rest.", no_args_is_help=True
)

DEMO_SOURCE = "import demo "
"""How the source of a demo's manifest begins."""

Append = Annotated[bool, typer.Option("--append", help="Add new images to those imported before; move nothing else.")]


@cli.command()
def demo(
    count: Annotated[int, typer.Option(help="Images in all.", min=1, max=100_000)] = 200,
    seed: Annotated[int, typer.Option(help="Another seed draws other images.", min=0)] = 0,
    append: Append = False,
    only_over_demo: Annotated[
        bool, typer.Option("--only-over-demo", help="Refuse to take the place of anything but a demo import.")
    ] = False,
) -> None:
    """Render the demo data set: five kinds of animals, with tags and true masks."""
    if only_over_demo:
        _refuse_other_data()
    take(render_demo(DEMO_FOLDER, count=count, seed=seed), append=append)


@cli.command()
def voc(
    folder: Annotated[
        Path, typer.Argument(help="Folder in VOC layout: JPEGImages, ImageSets, tags.csv or Annotations.")
    ],
    classes: Annotated[
        str, typer.Option(help="Classes, in order, with commas; others become void. Default: all.")
    ] = "",
    tags: Annotated[Path | None, typer.Option(help="Tag file; default: tags.csv, else Annotations/*.xml.")] = None,
    lists: Annotated[str, typer.Option(help="Lists to import, with commas. Default: all.")] = "",
    append: Append = False,
) -> None:
    """Import a folder in VOC layout. Photographs and true masks stay where they are."""
    names = [name.strip() for name in classes.split(",") if name.strip()]
    wanted = [name.strip() for name in lists.split(",") if name.strip()]
    take(read_voc(folder, classes=names, tags_file=tags, lists=wanted or None), append=append)


def _refuse_other_data() -> None:
    """`make demo` must never take the place of somebody's own photographs."""
    old = read_manifest() if MANIFEST.exists() else None
    if old is not None and not old.source.startswith(DEMO_SOURCE):
        raise DataError(
            f"this folder holds another data set: {len(old.entries)} images ({old.source})",
            "Type `make demo` in a fresh clone, or `labelfactory import demo` to put the demo in its place.",
        )
