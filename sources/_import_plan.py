"""Make a manifest of a source's batch: classes, one inspection of every file, splits, duplicates, left-out photographs."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from labelfactory.console import one_line
from labelfactory.dataset.left_out import LeftOut
from labelfactory.dataset.manifest import Entry, Manifest, same_bytes
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError, did_you_mean
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.foreign_files import RAW, is_allowed, is_inside
from labelfactory.schema import BACKGROUND, Classes
from sources._batch import Batch, Candidate
from sources._findings import SHOWN, raise_problems
from sources._inspect import Inspection, inspect_all
from sources._names import chosen_classes, is_name, renamed
from sources._split import TRAIN, VAL, deal


@dataclass(frozen=True)
class ImportOptions:
    """The options that every source shares."""

    classes: tuple[str, ...] = ()  # in order; empty for all
    rename: Mapping[str, str] = field(default_factory=dict)  # a name of the source → its name here; "" drops it
    val_fraction: float | None = None  # None: the source's own lists, or 0.2 where it has none
    check_masks: bool = False  # check the pixels of true masks too, not only their size
    max_bad_fraction: float = 0.0
    train_list: str = TRAIN
    val_list: str = VAL
    append: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class ImportPlan:
    """A manifest that may be written, and what to report of it."""

    manifest: Manifest
    left_out: tuple[LeftOut, ...]
    twins: tuple[tuple[str, ...], ...]  # image ids of photographs of the same bytes
    pending: tuple[Candidate, ...]  # photographs or masks that are to be written
    refused: tuple[tuple[Candidate, str], ...] = ()  # withdrawn ones, with the digest of the photograph

    def write_files(self) -> None:
        """Write the photographs and masks that the source does not have as files; unchanged ones are left alone."""
        written = [pair for candidate in self.pending for pair in candidate.to_write()]
        for folder in {path.parent for path, _ in written}:
            remove_leftovers(folder)
        for path, load in written:
            data = load()
            if path.is_file() and path.read_bytes() == data:
                continue
            make_folder(path.parent)
            with write_whole(path) as temporary:
                temporary.write_bytes(data)

    def delete_refused(self) -> None:
        """Delete withdrawn photographs and their masks that lie below data/raw, which holds files of ours."""
        used = {path for entry in self.manifest.entries for path in (entry.path, entry.mask_path)}
        gone = withdrawn().photographs
        for candidate, sha256 in self.refused:
            for path in (candidate.path, candidate.mask) if sha256 in gone else ():
                if path is not None and stored(path) not in used and is_allowed(path, "delete"):
                    path.unlink(missing_ok=True)


def plan_import(batch: Batch, options: ImportOptions, old: Manifest | None = None) -> ImportPlan:
    """Make a manifest of a batch, without withdrawn photographs. Nothing is written.

    Args:
        batch: from a source.
        options: from the command line.
        old: the manifest on the disk, if there is one: `append` extends it, and its photographs keep their split.

    Raises:
        DataError: lists every problem with file and row, if they stop the import.
    """
    append_to = old if options.append else None
    problems = list(batch.problems)
    batch, known = renamed(batch, options.rename, problems)
    chosen = chosen_classes(batch, known, options.classes, append_to, problems)
    fresh, left_out = _sorted_out(batch, chosen, append_to, also=known if problems else ())
    total = len({c.image_id or c.where for c in batch.candidates} | {b.image_id or b.where for b in batch.left_out})
    checked = set(batch.mask_values) if options.check_masks else None
    inspections = inspect_all(fresh, checked) if fresh else []
    taken: list[tuple[Candidate, Inspection]] = []
    refused: list[tuple[Candidate, str]] = []
    gone = withdrawn()
    for candidate, inspection in zip(fresh, inspections, strict=True):
        if gone.refuses(candidate.image_id, inspection.sha256):
            refused.append((candidate, inspection.sha256))
            continue
        if inspection.reason:
            left_out.append(_left(candidate, inspection.reason))
            continue
        if inspection.mask_reason:
            left_out.append(_left(candidate, inspection.mask_reason, what="mask"))
            candidate = replace(candidate, mask=None, mask_bytes=None)
        taken.append((candidate, inspection))
    left_out = [item for item in left_out if item.image_id not in gone.image_ids]  # the list must not name them again
    if append_to is None and chosen and not problems:
        tagged = {tag for candidate, _ in taken for tag in candidate.tags}
        problems += [f"--classes: no photograph is tagged {name!r}" for name in chosen if name not in tagged]
    bad = len({b.image_id or b.where for b in left_out})
    stop = bad > options.max_bad_fraction * max(total, 1)
    raise_problems(batch.root, problems, left_out, stop=stop, shown=None if options.dry_run else SHOWN)
    if not taken and append_to is None:
        raise DataError(f"{batch.root}: contains no usable photograph", "Name another folder or file.")
    lists = _lists(taken, options, old)
    entries = tuple(_entry(c, inspection, lists.get(inspection.sha256)) for c, inspection in taken)
    numbers = {name: k for k, name in enumerate(chosen, 1)}
    mask_ids = {BACKGROUND: BACKGROUND} | {v: numbers[n] for v, n in batch.mask_values.items() if n in numbers}
    if not batch.mask_values:
        mask_ids |= {k: k for k in numbers.values()}
    new = Manifest(Classes(tuple(chosen)), mask_ids, _command(batch, options, chosen), entries)
    if append_to is None:
        manifest = new.numbered()
    else:
        if not any(entry.mask_path for entry in append_to.entries):  # its masks have no numbers yet
            append_to = replace(append_to, mask_ids=mask_ids)
        masked = any(entry.mask_path for entry in entries)
        manifest = append_to.appended(new if masked else replace(new, mask_ids=append_to.mask_ids))
    _refuse_leaks(manifest, options)
    pending = tuple(c for c, _ in taken if c.photograph_bytes or c.mask_bytes)
    return ImportPlan(manifest, tuple(left_out), _twins(manifest), pending, tuple(refused))


def _sorted_out(
    batch: Batch, chosen: tuple[str, ...], append_to: Manifest | None, also: tuple[str, ...]
) -> tuple[list[Candidate], list[LeftOut]]:
    """Candidates to inspect, and those left out: bad ids, duplicate ids, unknown tags.

    If the source names its classes, tags of classes that were not chosen are dropped. `also` are unknown tags that are
    not reported: if --classes itself is wrong, every row would be.
    """
    here = {entry.image_id for entry in append_to.entries} if append_to else set()
    first: dict[str, str] = {}
    fresh: list[Candidate] = []
    left_out = list(batch.left_out)
    for candidate in batch.candidates:
        image_id = candidate.image_id
        allowed = {*batch.names, *chosen, *also}
        unknown = [tag for tag in candidate.tags if tag not in allowed]
        bad_lists = [name for name in candidate.lists if not is_name(name) or "/" in name]
        if not is_name(image_id):
            left_out.append(_left(candidate, f"{image_id[:40]!r} is not an image id: empty, too long or not printable"))
        elif bad_lists:
            left_out.append(_left(candidate, f"{bad_lists[0][:40]!r} is not the name of a list"))
        elif image_id in first:
            other = f" ({first[image_id]})" if first[image_id] else ""
            left_out.append(_left(candidate, f"the image id {image_id!r} appears twice{other}"))
        elif unknown:
            reasons = [f"tag {tag!r} is not a class{did_you_mean(tag, chosen)}" for tag in unknown]
            left_out.append(_left(candidate, "; ".join(reasons)))
        elif image_id not in here:
            tags = tuple(sorted(set(candidate.tags) & set(chosen)))
            fresh.append(replace(candidate, tags=tags))
        first.setdefault(image_id, candidate.where)
    return fresh, left_out


def _left(candidate: Candidate, reason: str, what: str = "photograph") -> LeftOut:
    path = candidate.mask if what == "mask" and candidate.mask else candidate.path
    return LeftOut(candidate.image_id, candidate.where, path.as_posix(), reason, what)


def _lists(
    taken: Sequence[tuple[Candidate, Inspection]], options: ImportOptions, old: Manifest | None
) -> dict[str, str]:
    """Digest → list, for photographs that are dealt to lists; empty if the source's own lists are kept."""
    fraction = options.val_fraction
    if fraction is None and any(candidate.lists for candidate, _ in taken):
        return {}
    if fraction is None:
        fraction = 0.2
    tags: dict[str, frozenset[str]] = {}
    for candidate, inspection in taken:
        tags[inspection.sha256] = tags.get(inspection.sha256, frozenset()) | set(candidate.tags)
    dealt: dict[str, str] = {}
    if old is not None and (options.append or f"--val-fraction {fraction:g}" in old.source):
        for entry in old.entries:
            if entry.lists in ((TRAIN,), (VAL,)):
                dealt[entry.sha256] = entry.lists[0]
                if options.append:
                    tags.setdefault(entry.sha256, frozenset(entry.tags))
    return deal(tags, fraction, dealt)


def _entry(candidate: Candidate, inspection: Inspection, dealt: str | None) -> Entry:
    return Entry(
        image_id=candidate.image_id,
        path=stored(candidate.path),
        sha256=inspection.sha256,
        lists=(dealt,) if dealt else tuple(sorted(set(candidate.lists))),
        tags=candidate.tags,
        mask_path=stored(candidate.mask) if candidate.mask else None,
        mask_sha256=inspection.mask_sha256,
        width=inspection.width,
        height=inspection.height,
    )


def _command(batch: Batch, options: ImportOptions, chosen: Sequence[str]) -> str:
    """The command as the manifest states it, with the fraction of a dealt split, so that a second import keeps the split."""
    own = all(candidate.lists for candidate in batch.candidates)
    fraction = options.val_fraction if options.val_fraction is not None else (None if own else 0.2)
    words = [batch.command, f"--classes {','.join(chosen)}"]
    words += [f"--rename {old}={new}" for old, new in options.rename.items()]
    words += [f"--val-fraction {fraction:g}"] if fraction is not None else []
    return " ".join(words)


def _refuse_leaks(manifest: Manifest, options: ImportOptions) -> None:
    leaks = same_bytes(manifest.entries, options.train_list, options.val_list)
    if leaks:
        groups = [
            one_line(", ".join(f"{e.path} ({'+'.join(e.lists)})" for e in sorted(group, key=lambda e: e.path)))
            for group in leaks
        ]
        raise DataError(
            "\n".join(
                [
                    f"the lists {options.train_list!r} and {options.val_list!r} share {len(leaks)} photographs "
                    "(same bytes)",
                    *(f"  {group}" for group in groups),
                ]
            ),
            "Remove each from one of the lists, or split them with --val-fraction, and import again.",
        )


def _twins(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    counts = Counter(entry.sha256 for entry in manifest.entries)
    groups: dict[str, list[str]] = {}
    for entry in manifest.entries:
        if counts[entry.sha256] > 1:
            groups.setdefault(entry.sha256, []).append(entry.image_id)
    return tuple(tuple(group) for group in groups.values())


def stored(path: Path) -> str:
    """The path in the manifest: relative to the current folder if inside it, else absolute, with links followed."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - a link inside the project keeps its name
    if not (full.is_relative_to(Path.cwd()) and is_inside(full, Path.cwd(), RAW)):
        full = full.resolve()
    return (full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full).as_posix()
