"""Take an import in: write the manifest, in the place of the one before or appended to it."""

import re
from dataclasses import dataclass
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.progress import say
from sources.demo import render_demo
from sources.voc import read_voc

DEMO_FOLDER = Path("data/raw/demo")
DEMO = re.compile(r"import demo --count (?P<count>\d+) --seed (?P<seed>\d+)")
VOC = re.compile(r"import voc (?P<folder>.+) --classes .+?(?: --lists (?P<lists>.+))?")
"""How the source of a manifest reads, by importer."""


@dataclass(frozen=True)
class Taken:
    """What an import brought."""

    manifest: Manifest
    added: int


def take(new: Manifest, *, append: bool) -> Taken:
    """Write the manifest, unless it says what the one on disk says already.

    Raises:
        DataError: there is nothing to append to, or the classes differ.
    """
    old = read_manifest() if MANIFEST.exists() else None
    if append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    manifest = old.appended(new) if append and old is not None else new.numbered()
    if old == manifest:
        say(f"import: nothing new; {len(old.entries)} images")
        return Taken(manifest, 0)
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
    return Taken(manifest, added)


def append_from(source: str = "") -> Taken:
    """Append what is new in a source, with the classes of the import that is here.

    Args:
        source: a folder in VOC layout; `demo:60` for the demo with 60 images; empty for the source of the import itself.

    Raises:
        UserError: nothing was imported yet, or the source cannot be read.
    """
    held = read_manifest()
    drawn, voc = DEMO.fullmatch(held.source), VOC.fullmatch(held.source)
    if wanted := re.fullmatch(r"demo:(\d+)", source):
        seed = int(drawn["seed"]) if drawn else 0
        return take(render_demo(DEMO_FOLDER, count=int(wanted[1]), seed=seed), append=True)
    if not source and drawn:
        return take(render_demo(DEMO_FOLDER, count=int(drawn["count"]), seed=int(drawn["seed"])), append=True)
    if not source and voc is None:
        raise DataError(
            f"where the import came from cannot be read again: {held.source}", "Name the folder: --source DIR."
        )
    lists = voc["lists"].split(",") if voc and voc["lists"] else None
    folder = Path(source or (voc["folder"] if voc else ""))
    return take(read_voc(folder, classes=held.classes.names, lists=lists), append=True)
