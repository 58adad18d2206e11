"""`labelfactory import SOURCE`: say which photographs, tags and true masks the line works on."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from labelfactory.errors import DataError
from labelfactory.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.progress import say
from lineage.lookup import Lookup
from sources.demo import render_demo
from sources.voc import read_voc

cli = typer.Typer(
    help="Import photographs, tags and true masks; `labelfactory run` does the rest.", no_args_is_help=True
)

DEMO_FOLDER = Path("data/raw/demo")
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
    _take(render_demo(DEMO_FOLDER, count=count, seed=seed), append=append)


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
    _take(read_voc(folder, classes=names, tags_file=tags, lists=wanted or None), append=append)


def _refuse_other_data() -> None:
    """`make demo` must never take the place of somebody's own photographs."""
    old = read_manifest() if MANIFEST.exists() else None
    if old is not None and not old.source.startswith(DEMO_SOURCE):
        raise DataError(
            f"this folder holds another data set: {len(old.entries)} images ({old.source})",
            "Type `make demo` in a fresh clone, or `labelfactory import demo` to put the demo in its place.",
        )


def _without_withdrawn(new: Manifest) -> Manifest:
    """A withdrawn photograph does not come back, under whatever name."""
    gone = set(Lookup().withdrawn().values())
    kept = tuple(entry for entry in new.entries if entry.sha256 not in gone)
    if len(kept) < len(new.entries):
        say(f"import: {len(new.entries) - len(kept)} withdrawn photographs are left out")
    return replace(new, entries=kept)


def _take(new: Manifest, *, append: bool) -> None:
    """Write the manifest, unless it says what the one on disk says already."""
    new = _without_withdrawn(new)
    old = read_manifest() if MANIFEST.exists() else None
    if append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    manifest = old.appended(new) if append and old is not None else new.numbered()
    if old == manifest:
        say(f"import: nothing new; {len(old.entries)} images")
        return
    if old is not None and not append:
        say(
            f"import: takes the place of {len(old.entries)} images ({old.source}); what was made of them stays in DVC's cache"
        )
    write_manifest(manifest)
    masks = sum(entry.mask_path is not None for entry in manifest.entries)
    added = len(manifest.entries) - (len(old.entries) if append and old is not None else 0)
    say(
        f"import: {added} images added, {len(manifest.entries)} in all, {len(manifest.classes)} classes "
        f"({', '.join(manifest.classes.names)}), {masks} with a true mask"
    )
