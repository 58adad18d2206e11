"""Take an import in: settle what a source found, write the manifest anew or append to it, and say what happened."""

import re
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labelfactory.console import say
from labelfactory.dataset.corrections import CORRECTIONS, TABLE, write_corrections
from labelfactory.dataset.left_out import LEFT_OUT, LeftOut, read_left_out, write_left_out
from labelfactory.dataset.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.errors import DataError
from sources._alike import slips
from sources._batch import Batch
from sources._settle import Settled, Wishes, settle
from sources.demo import find_demo
from sources.voc import find_voc

SHOWN = 20
DEMO_FOLDER = Path("data/raw/demo")
DEMO = re.compile(r"import demo --count (?P<count>\d+) --seed (?P<seed>\d+)(?: --.*)?")
VOC = re.compile(r"import voc (?P<folder>.+?)(?: --lists (?P<lists>\S+))? --classes \S+.*")
"""How the source of a manifest reads, by importer."""
RENAMED = re.compile(r" --rename (?P<old>[^=]+)=(?P<new>.*?)(?= --|$)")


@dataclass(frozen=True)
class Taken:
    """What an import brought."""

    manifest: Manifest
    added: int


def take_batch(batch: Batch, wishes: Wishes, *, gone: Collection[str] = ()) -> Taken:
    """Settle what a source found and write it, or only say what would be written.

    Args:
        batch: what the source found.
        wishes: what a person asks of it.
        gone: digests of photographs that were withdrawn: they do not come back, under whatever name.

    Raises:
        DataError: what stops the import, all of it.
    """
    old = _old(append=wishes.append)
    settled = settle(batch, wishes, old)
    settled = replace(settled, manifest=_without(settled.manifest, gone))
    _say_problems(settled, shown=None if wishes.dry_run else SHOWN)
    if not wishes.classes:
        _say_slips(settled.manifest)
    if wishes.dry_run:
        _say_counts(settled.manifest)
        return Taken(settled.manifest, 0)
    settled.write_files()
    taken = _write(settled.manifest, old, append=wishes.append)
    known = read_left_out() if wishes.append else ()
    ids = {entry.image_id for entry in settled.manifest.entries}
    kept = {item: None for item in known if item.what == "mask" or item.image_id not in ids}
    _write_left_out([*(kept | dict.fromkeys(settled.left_out))])
    return taken


def take(new: Manifest, *, append: bool, gone: Collection[str] = ()) -> Taken:
    """Write a manifest that needs no look; `gone` as in `take_batch`.

    Raises:
        DataError: there is nothing to append to, or the classes differ.
    """
    old = _old(append=append)
    new = _without(new, gone)
    manifest = old.appended(new) if append and old is not None else new.numbered()
    if not append:
        _write_left_out([])
    return _write(manifest, old, append=append)


def append_from(source: str = "", *, wishes: Wishes | None = None, gone: Collection[str] = ()) -> Taken:
    """Append what is new in a source, with the classes of the import that is here.

    Args:
        source: a folder in VOC layout; `demo:60` for the demo with 60 images; empty for the source of the import itself.
        wishes: limits, such as how many bad files may be left out.
        gone: as in `take_batch`.

    Raises:
        UserError: nothing was imported yet, or the source cannot be read.
    """
    held = read_manifest()
    drawn, voc = DEMO.fullmatch(held.source), VOC.fullmatch(held.source)
    own = not source or (drawn is not None and source.startswith("demo:"))
    renamed = {found["old"]: found["new"] for found in RENAMED.finditer(held.source)} if own else {}
    appending = replace(wishes or Wishes(), classes=held.classes.names, rename=renamed, append=True)
    if wanted := re.fullmatch(r"demo:(\d+)", source):
        more = find_demo(DEMO_FOLDER, count=int(wanted[1]), seed=int(drawn["seed"]) if drawn else 0)
        return take_batch(more, appending, gone=gone)
    if not source and drawn:
        again = find_demo(DEMO_FOLDER, count=int(drawn["count"]), seed=int(drawn["seed"]))
        return take_batch(again, appending, gone=gone)
    if not source and voc is None:
        raise DataError(
            f"where the import came from cannot be read again: {held.source}", "Name the folder: --source DIR."
        )
    lists = voc["lists"].split(",") if voc and voc["lists"] else None
    batch = find_voc(Path(source or (voc["folder"] if voc else "")), lists=lists)
    return take_batch(batch, appending, gone=gone)


def _old(*, append: bool) -> Manifest | None:
    old = read_manifest() if MANIFEST.exists() else None
    if append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    return old


def _without(manifest: Manifest, gone: Collection[str]) -> Manifest:
    """A withdrawn photograph does not come back."""
    kept = tuple(entry for entry in manifest.entries if entry.sha256 not in gone)
    if len(kept) < len(manifest.entries):
        say(f"import: {len(manifest.entries) - len(kept)} withdrawn photographs are left out")
    return replace(manifest, entries=kept)


def _write(manifest: Manifest, old: Manifest | None, *, append: bool) -> Taken:
    """Write the manifest, unless it says what the one on disk says already."""
    if not (CORRECTIONS / TABLE).exists():  # DVC asks that what a stage may read is there
        write_corrections(())
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


def _write_left_out(items: Sequence[LeftOut]) -> None:
    if tuple(items) != read_left_out() or (not items and LEFT_OUT.exists()):
        write_left_out(items)


def _say_problems(settled: Settled, *, shown: int | None) -> None:
    """What was left out, and what is there twice; `shown` lines of each, None for all."""
    for title, lines in (
        ("left out", [item.line for item in settled.left_out]),
        ("found under several names", [", ".join(ids) for ids in settled.twins]),
    ):
        if lines:
            more = [f"  … and {len(lines) - shown} more"] if shown is not None and len(lines) > shown else []
            say("\n".join([f"import: {len(lines)} {title}:", *(f"  {line}" for line in lines[:shown]), *more]))


def _say_slips(manifest: Manifest) -> None:
    """Classes that nobody chose come from the tags, mistyped ones too."""
    counts = Counter(tag for entry in manifest.entries for tag in entry.tags)
    for slip, meant in slips(counts):
        say(
            f"import: the class {slip!r} (images: {counts[slip]}) may be {meant!r} ({counts[meant]}) mistyped; "
            f"if so, import again with --rename {shlex.quote(f'{slip}={meant}')}"
        )


def _say_counts(manifest: Manifest) -> None:
    """What --dry-run prints."""
    entries = manifest.entries
    lists = Counter(name for entry in entries for name in entry.lists)
    tags = Counter(tag for entry in entries for tag in entry.tags)
    say(
        "\n".join(
            [
                f"import: would hold {len(entries)} images, {sum(e.mask_path is not None for e in entries)} with a true mask",
                "  lists: " + ", ".join(f"{name} {count}" for name, count in sorted(lists.items())),
                "  classes: " + ", ".join(f"{name} {tags[name]}" for name in manifest.classes.names),
                f"  without a tag: {sum(not entry.tags for entry in entries)}",
                "nothing was written",
            ]
        )
    )
