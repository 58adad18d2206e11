"""What every import ends in: a manifest written, or not, and a few lines on it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from labelfactory.errors import DataError, UserError
from labelfactory.left_out import LEFT_OUT, LeftOut, read_left_out, write_left_out
from labelfactory.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.params import PARAMS_FILE, read_yaml
from labelfactory.progress import say
from sources._batch import Batch
from sources._intake import Settled, Wishes, settle
from stages.prepare import PrepareConfig

DEMO_SOURCE = "import demo "
"""How the source of a demo's manifest begins."""
SHOWN = 20


def words_of(text: str) -> list[str]:
    """The words of an option like `cat,dog`."""
    return [word.strip() for word in text.split(",") if word.strip()]


def wishes_of(
    classes: str, rename: Sequence[str] | None, val_fraction: float | None, *, append: bool, dry_run: bool, **more: Any
) -> Wishes:
    """The options that all sources share, with the limits of params.yaml.

    Raises:
        UserError: one of them is of the wrong form.
    """
    renamed: dict[str, str] = {}
    for pair in rename or ():
        old, equals, new = (part.strip() for part in pair.partition("="))
        if not equals or not old:
            raise UserError(f"--rename {pair!r} is not of the form old=new", "Type it like this: --rename sofa=couch")
        renamed[old] = new
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise UserError(f"--val-fraction {val_fraction:g} is no share", "Give a number between 0 and 1, such as 0.2.")
    limits = _limits()
    return Wishes(
        classes=tuple(words_of(classes)),
        rename=renamed,
        val_fraction=val_fraction,
        max_bad_fraction=limits.max_bad_fraction,
        train_list=limits.train_list,
        val_list=limits.val_list,
        append=append,
        dry_run=dry_run,
        **more,
    )


def _limits() -> PrepareConfig:
    """Section `prepare` of params.yaml; the strictest limits where there is none."""
    path = Path(PARAMS_FILE)
    try:
        return PrepareConfig.model_validate(read_yaml(path).get("prepare") if path.exists() else None)
    except ValidationError:  # `labelfactory run` says what is wrong with it
        return PrepareConfig(train_list="train", val_list="val", max_bad_fraction=0)


def refuse_other_data(source: str) -> None:
    """`make demo` must never take the place of somebody's own photographs."""
    old = read_manifest() if MANIFEST.exists() else None
    if old is not None and not old.source.startswith(source):
        raise DataError(
            f"this folder holds another data set: {len(old.entries)} images ({old.source})",
            "Type `make demo` in a fresh clone, or `labelfactory import demo` to put the demo in its place.",
        )


def take_batch(batch: Batch, wishes: Wishes) -> None:
    """Settle what a source found and write it, or only say what would be written."""
    old = read_manifest() if MANIFEST.exists() else None
    if wishes.append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    settled = settle(batch, wishes, old)
    _say_problems(settled, shown=None if wishes.dry_run else SHOWN)
    if wishes.dry_run:
        _say_counts(settled.manifest)
        return
    settled.write_files()
    if old == settled.manifest:
        say(f"import: nothing new; {len(old.entries)} images")
    else:
        _write(settled.manifest, old, append=wishes.append)
    known = read_left_out() if wishes.append else ()
    taken = {entry.image_id for entry in settled.manifest.entries}
    kept = {item: None for item in known if item.what == "mask" or item.image_id not in taken}
    _write_left_out([*(kept | dict.fromkeys(settled.left_out))])


def take(new: Manifest, *, append: bool) -> None:
    """Write a manifest that needs no look, unless it says what the one on the disk says already."""
    old = read_manifest() if MANIFEST.exists() else None
    if append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    manifest = old.appended(new) if append and old is not None else new.numbered()
    if not append:
        _write_left_out([])
    if old == manifest:
        say(f"import: nothing new; {len(old.entries)} images")
        return
    _write(manifest, old, append=append)


def _write(manifest: Manifest, old: Manifest | None, *, append: bool) -> None:
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


def _write_left_out(items: Sequence[LeftOut]) -> None:
    if tuple(items) != read_left_out() or (not items and LEFT_OUT.exists()):
        write_left_out(items)


def _say_problems(settled: Settled, *, shown: int | None) -> None:
    """What was left out, and what is there twice; `shown` lines of each, None for all."""
    for title, lines in (
        ("left out", [item.line for item in settled.left_out]),
        ("times the same bytes under several names", [", ".join(ids) for ids in settled.twins]),
    ):
        if lines:
            more = [f"  … and {len(lines) - shown} more"] if shown is not None and len(lines) > shown else []
            say("\n".join([f"import: {len(lines)} {title}:", *(f"  {line}" for line in lines[:shown]), *more]))


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
