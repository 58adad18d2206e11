"""Import a batch: plan it, write the manifest or append to it, and print the result."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from labelfactory.console import say
from labelfactory.dataset.account import Account, read_account, write_account
from labelfactory.dataset.corrections import CORRECTIONS, TABLE, write_corrections
from labelfactory.dataset.left_out import LEFT_OUT, MASK, OTHER, LeftOut, read_left_out, write_left_out
from labelfactory.dataset.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from labelfactory.dataset.withdrawn import say_refused
from labelfactory.digests import digest_file
from labelfactory.errors import DataError, NewerFormatError
from labelfactory.foreign_files import remedy
from labelfactory.typed_names import split_pair
from sources._account import Noted, account_of, drawn, left_out_counts
from sources._batch import Batch
from sources._findings import SHOWN, first_lines
from sources._import_plan import ImportOptions, ImportPlan, plan_import
from sources._masks_again import look_again
from sources._replacing import loss, lost_images, refuse_loss
from sources._true_masks import LOOKED_AT, Over
from sources._unpacked_files import remove_unnamed
from sources.demo import find_demo
from sources.voc import find_voc

DEMO_FOLDER = Path("data/raw/demo")
DEMO = re.compile(r"import demo --count (?P<count>\d+) --seed (?P<seed>\d+)(?: --.*)?")
VOC = re.compile(r"import voc (?P<folder>.+?)(?: --lists (?P<lists>\S+))? --classes \S+.*")
"""The source stated in a manifest, by importer."""
RENAMED = re.compile(r" --rename (?P<pair>.+?)(?= --|$)")


@dataclass(frozen=True)
class ImportResult:
    """What an import made, or with `dry_run` would make."""

    manifest: Manifest
    added: int  # images
    account: Account
    lost: str = ""  # with `dry_run`: the counts of an import that would take images out
    added_classes: tuple[str, ...] = ()


def import_batch(batch: Batch, options: ImportOptions) -> ImportResult:
    """Plan an import and write it, or with `dry_run` only say what it would do. Withdrawn photographs are not imported again.

    Args:
        batch: from a source.
        options: from the command line.

    Raises:
        DataError: lists every problem that stops the import; or images that are here would go, and `replace` is off.
    """
    old = _old(append=options.append)
    plan = plan_import(batch, options, old)
    say_refused([(candidate.image_id, sha256) for candidate, sha256 in plan.refused])
    _say_problems(plan, shown=None if options.dry_run else SHOWN)
    for note in plan.notes:
        say(f"import: {note}")
    for decision in plan.decisions:
        say(f"import: {decision}")
    if hint := remedy(plan.noted.passed_over):
        say(f"import: {hint}")
    left_out = _all_left_out(plan, append=options.append)
    account = _account(plan.manifest, replace(plan.noted, left_out=left_out), options, old)
    lost = lost_images(old, plan.manifest) if old else ()
    if options.dry_run:
        going = loss(old, plan.manifest, lost) if old and lost else ""
        return ImportResult(plan.manifest, 0, account, going, plan.added_classes)
    if old and lost and not options.replace:
        refuse_loss(old, plan.manifest, lost)
    plan.write_files()
    plan.delete_refused()
    added = _write(plan.manifest, old, account, append=options.append)
    _write_left_out(left_out)
    remove_unnamed(plan.manifest)
    return ImportResult(plan.manifest, added, account, "", plan.added_classes)


def import_drawn(new: Manifest, options: ImportOptions) -> ImportResult:
    """Write a manifest whose photographs need no inspection: they were drawn with their true masks.

    Raises:
        DataError: images that are here would go, and `replace` is off.
    """
    old = _old(append=False)
    manifest = new.numbered()
    if old and not options.replace:
        refuse_loss(old, manifest, lost_images(old, manifest))
    looks = [(entry, drawn(entry, manifest)) for entry in manifest.entries]
    account = _account(manifest, Noted(looks), options, old)
    _write_left_out([])
    added = _write(manifest, old, account, append=False)
    remove_unnamed(manifest)
    return ImportResult(manifest, added, account)


def append_from(source: str = "", *, options: ImportOptions | None = None) -> ImportResult:
    """Append the new photographs of a source, with the classes of the current import.

    Args:
        source: a folder in VOC layout; `demo:60` for the demo with 60 images; empty for the source of the current import.
        options: limits, such as max_bad_fraction.

    Raises:
        UserError: nothing was imported yet, or the source cannot be read.
    """
    current = read_manifest()
    drawn, voc = DEMO.fullmatch(current.source), VOC.fullmatch(current.source)
    own = not source or (drawn is not None and source.startswith("demo:"))
    pairs = [split_pair(match["pair"]) for match in RENAMED.finditer(current.source)] if own else []
    renamed = {pair[0]: pair[1] for pair in pairs if pair}
    over: Over = "stored" if own and current.source.endswith(" --masks stored") else "upright"
    limits = replace(options or ImportOptions(), masks=over)
    appending = replace(limits, classes=current.classes.names, rename=renamed, append=True)
    if wanted := re.fullmatch(r"demo:(\d+)", source):
        more = find_demo(DEMO_FOLDER, count=int(wanted[1]), seed=int(drawn["seed"]) if drawn else 0)
        return import_batch(more, appending)
    if not source and drawn:
        again = find_demo(DEMO_FOLDER, count=int(drawn["count"]), seed=int(drawn["seed"]))
        return import_batch(again, appending)
    if not source and voc is None:
        raise DataError(
            f"the source of the import cannot be read again: {current.source}", "Name the folder: --source DIR."
        )
    lists = voc["lists"].split(",") if voc and voc["lists"] else None
    batch = find_voc(Path(source or (voc["folder"] if voc else "")), lists=lists)
    return import_batch(batch, appending)


def _old(*, append: bool) -> Manifest | None:
    """The manifest on the disk; None if there is none, or a damaged one that this import replaces."""
    try:
        old = read_manifest() if MANIFEST.exists() else None
    except NewerFormatError:
        raise
    except DataError as error:
        if append:
            raise DataError(error.problem, "Import the photographs again, without --append.") from None
        say(f"import: replaces a manifest that cannot be read ({error.problem})")
        old = None
    if append and old is None:
        raise DataError("there is nothing to append to", "Import without --append.")
    return old


def _account(manifest: Manifest, noted: Noted, options: ImportOptions, old: Manifest | None) -> Account:
    """The account after the import; an appending one that brings nothing leaves what was counted of photographs that are here."""
    before = _readable_account(say_damage=True) if options.append else None
    if before is not None and (old is None or before.photographs != len(old.entries)):  # an earlier version was killed
        before = None
    if before is not None and manifest == old:
        left_out, masks_left_out = left_out_counts(noted.left_out)
        return replace(before, left_out=left_out, masks_left_out=masks_left_out)
    if before is not None and old is not None and manifest.classes != old.classes:
        known = {entry.image_id for entry in old.entries}
        here = [entry for entry in manifest.entries if entry.image_id in known]  # with their tags of the new classes
        noted = replace(noted, again=look_again(here, max(before.looked_at, LOOKED_AT)))
    return account_of(manifest, noted, options.train_list, before)


def _readable_account(*, say_damage: bool = False) -> Account | None:
    """The account of the manifest on the disk; None if there is none, or it is damaged."""
    try:
        return read_account()
    except DataError as error:
        if say_damage:
            say(f"import: {error.problem}; written anew")
        return None


def _write(manifest: Manifest, old: Manifest | None, account: Account, *, append: bool) -> int:
    """Write account and manifest, which change together; an equal manifest stays. Gives the number of added images."""
    if not (CORRECTIONS / TABLE).exists():  # DVC requires that a dependency exists
        write_corrections(())
    if old == manifest:
        write_account(replace(account, manifest=digest_file(MANIFEST)))
        say(f"import: nothing new; {len(old.entries)} images")
        return 0
    if old is not None and not append:
        say(f"import: replaces {len(old.entries)} images ({old.source}); their outputs stay in DVC's cache")
    earlier = _readable_account()

    def write_both(sha256: str) -> None:
        write_account(replace(account, manifest=sha256, earlier=earlier))

    write_manifest(manifest, before=write_both)
    write_account(replace(account, manifest=digest_file(MANIFEST)))
    masks = sum(entry.mask_path is not None for entry in manifest.entries)
    added = len(manifest.entries) - (len(old.entries) if append and old is not None else 0)
    say(
        f"import: {added} images added, {len(manifest.entries)} in all, {len(manifest.classes)} classes "
        f"({', '.join(manifest.classes.names)}), {masks} with a true mask"
    )
    return added


def _all_left_out(plan: ImportPlan, *, append: bool) -> list[LeftOut]:
    """What this import left out, and what those that it appends to did and it did not take."""
    known = read_left_out() if append else ()
    entries = plan.manifest.entries
    ids, paths = {entry.image_id for entry in entries}, {entry.path for entry in entries}

    def taken(item: LeftOut) -> bool:
        return item.path in paths if item.what == OTHER else item.image_id in ids and item.what != MASK

    kept = {item: None for item in known if not taken(item)}
    return [*(kept | dict.fromkeys(plan.left_out))]


def _write_left_out(items: Sequence[LeftOut]) -> None:
    if tuple(items) != read_left_out() or (not items and LEFT_OUT.exists()):
        write_left_out(items)


def _say_problems(plan: ImportPlan, *, shown: int | None) -> None:
    """Print what was left out, and duplicates; `shown` lines of each, None for all."""
    for title, lines in (
        ("left out", [item.line for item in plan.left_out]),
        ("with several image ids", [", ".join(ids) for ids in plan.twins]),
    ):
        if lines:
            say("\n".join([f"import: {len(lines)} {title}:", *(f"  {line}" for line in first_lines(lines, shown))]))
