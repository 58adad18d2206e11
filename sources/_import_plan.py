"""Make a manifest of a source's batch: classes, one inspection of every file, splits, duplicates, left-out photographs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from labelfactory.dataset.left_out import MASK, OTHER, PHOTOGRAPH, LeftOut
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_bytes, digest_file
from labelfactory.errors import DataError, did_you_mean
from labelfactory.files import make_folder, remove_leftovers, write_whole
from labelfactory.foreign_files import is_allowed
from labelfactory.schema import BACKGROUND, MAX_CLASSES, Classes
from labelfactory.typed_names import typed
from sources._account import Noted
from sources._appending import appended, with_new_tags
from sources._batch import Batch, Candidate
from sources._dealt_lists import dealt_lists, refuse_leaks
from sources._findings import SHOWN, raise_problems
from sources._inspect import Inspection, inspect_all
from sources._list_notes import list_notes
from sources._names import chosen_classes, is_name, renamed, used_classes
from sources._same_bytes import joined, notes_of_twins
from sources._same_ids import SameIds, same_ids
from sources._split import TRAIN, VAL
from sources._stored_path import stored
from sources._tag_typos import negative_notes, typo_notes
from sources._true_masks import Over, TrueMasks, look_at, said_of_turned


@dataclass(frozen=True)
class ImportOptions:
    """The options that every source shares."""

    classes: tuple[str, ...] = ()  # in order; empty for all
    rename: Mapping[str, str] = field(default_factory=dict)  # a name of the source → its name here; "" drops it
    val_fraction: float | None = None  # None: the source's own lists, or 0.2 where it has none
    check_masks: bool = False  # check the pixels of true masks too, not only their size
    masks: Over = "upright"  # what true masks are drawn over where their size does not say it
    max_bad_fraction: float = 0.0
    train_list: str = TRAIN
    val_list: str = VAL
    append: bool = False
    replace: bool = False  # images that are here may go
    dry_run: bool = False


@dataclass(frozen=True)
class ImportPlan:
    """A manifest that may be written, and what to report of it."""

    manifest: Manifest
    left_out: tuple[LeftOut, ...]
    twins: tuple[tuple[str, ...], ...]  # image ids of photographs of the same bytes
    pending: tuple[Candidate, ...]  # photographs or masks that are to be written
    noted: Noted  # for the account
    refused: tuple[tuple[Candidate, str], ...] = ()  # withdrawn ones, with the digest of the photograph
    added_classes: tuple[str, ...] = ()  # to the end of the classes that are here
    notes: tuple[str, ...] = ()  # what is no problem and may be a mistake, with what to type

    @property
    def decisions(self) -> tuple[str, ...]:
        """Where two readings were possible: which was taken, why, for how many images."""
        return tuple(self.noted.decisions)

    def write_files(self) -> None:
        """Write the photographs and masks that the source does not have as files; those that are there are left alone.

        Raises:
            DataError: the source has changed since it was inspected.
        """
        written = [pair for candidate in self.pending for pair in candidate.to_write()]
        for folder in {path.parent for path, _ in written}:
            remove_leftovers(folder)
        digests = {
            path: sha for e in self.manifest.entries for path, sha in ((e.path, e.sha256), (e.mask_path, e.mask_sha256))
        }
        for path, load in written:
            if path.is_file() and digest_file(path) == digests[stored(path)]:
                continue
            data = load()
            if digest_bytes(data) != digests[stored(path)]:
                raise DataError(f"{path}: its source has changed during the import", "Type the same command again.")
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
    added = chosen[len(append_to.classes) :] if append_to else ()
    same = same_ids(append_to, batch) if append_to else SameIds()
    here, decisions = with_new_tags(append_to, same.again, added) if append_to else (None, [])
    fresh, left_out = _sorted_out(batch, chosen, append_to, same, also=known if problems else ())
    masks = look_at(fresh, batch.mask_values or dict(enumerate(chosen[:MAX_CLASSES], 1)), chosen, over=options.masks)
    taken, refused = _inspected(fresh, left_out, masks, set(batch.mask_values) if options.check_masks else None)
    gone = withdrawn().image_ids
    left_out = [item for item in left_out if item.image_id not in gone]  # the list must not name them again
    taken, together = joined(taken, dealt=options.val_fraction is not None)
    stop = _too_many(batch, left_out, options)
    tagged = batch.candidates if stop else [candidate for candidate, _ in taken]
    missed = stop and batch.left_out  # if too many are left out, their classes are not missed too
    named, unused = chosen, list[str]()
    if here is None and chosen and not problems and not missed:
        chosen, unused = used_classes(tagged, chosen, options.classes, problems)
    elif here is not None and not problems and not missed:
        used = {tag for each in (*tagged, *here.entries) for tag in each.tags}
        problems += [f"--classes: no photograph is tagged {name!r}" for name in added if name not in used]
    counts = _counts(batch, append_to) if not options.classes else Counter()
    notes = [*typo_notes(counts), *negative_notes(counts)]
    shown = None if options.dry_run else SHOWN
    worst_first = sorted((item for item in left_out if item.what != OTHER), key=lambda item: item.what == MASK)
    raise_problems(batch.root, problems, worst_first, stop=stop, shown=shown, notes=notes)
    if not taken and here is None:
        raise DataError(f"{batch.root}: contains no usable photograph", "Name another folder or file.")
    lists = dealt_lists(taken, options.val_fraction, old, append=options.append)
    entries = tuple(_entry(c, inspection, lists.get(inspection.sha256)) for c, inspection in taken)
    new = Manifest(Classes(tuple(chosen)), _mask_ids(batch, named, chosen), _command(batch, options, chosen), entries)
    manifest = new.numbered() if here is None else appended(here, new, same.again)
    notes += [] if lists else list_notes(manifest.entries, options.train_list, options.val_list)
    notes += notes_of_twins(taken, here.entries if here else ())
    refuse_leaks(manifest, options.train_list, options.val_list)
    turned = said_of_turned([i.orientation for _, i in taken if i.fits_both_ways], options.masks)
    said = [*batch.decisions, *masks.decisions, *turned, *together, *unused, *decisions, *same.decisions]
    looks = tuple((entry, inspection) for entry, (_, inspection) in zip(entries, taken, strict=True))
    return ImportPlan(
        manifest=manifest,
        left_out=tuple(left_out),
        twins=_twins(manifest),
        pending=tuple(c for c, _ in taken if c.photograph_bytes or c.mask_bytes),
        noted=Noted(looks, left_out, batch.passed_over, said),
        refused=(*refused, *same.refused),
        added_classes=tuple(added),
        notes=tuple(notes),
    )


def _inspected(
    fresh: Sequence[Candidate], left_out: list[LeftOut], masks: TrueMasks, mask_values: set[int] | None
) -> tuple[list[tuple[Candidate, Inspection]], list[tuple[Candidate, str]]]:
    """The candidates that are taken, and the withdrawn ones with their digest; what is bad is added to `left_out`."""
    taken: list[tuple[Candidate, Inspection]] = []
    refused: list[tuple[Candidate, str]] = []
    inspections = inspect_all(fresh, mask_values, masks=masks) if fresh else []
    gone = withdrawn()
    for candidate, inspection in zip(fresh, inspections, strict=True):
        if gone.refuses(candidate.image_id, inspection.sha256):
            refused.append((candidate.named_by_content(inspection.sha256, inspection.mask_sha256), inspection.sha256))
            continue
        if inspection.reason:
            left_out.append(_left(candidate, inspection.reason))
            continue
        if inspection.mask_reason:
            left_out.append(_left(candidate, inspection.mask_reason, what=MASK))
        taken.append((inspection.as_imported(candidate), inspection))
    return taken, refused


def _too_many(batch: Batch, left_out: Sequence[LeftOut], options: ImportOptions) -> bool:
    """Whether more photographs are unusable than may be; a true mask that is left out costs nothing."""
    bad = {item.image_id or item.where for item in left_out if item.what == PHOTOGRAPH}
    total = len(bad | {candidate.image_id or candidate.where for candidate in batch.candidates})
    return len(bad) > options.max_bad_fraction * max(total, 1)


def _counts(batch: Batch, append_to: Manifest | None) -> Counter[str]:
    """Photographs of each tag, in the batch and in the manifest that is extended."""
    here = append_to.entries if append_to else ()
    return Counter(tag for tags in (*(c.tags for c in batch.candidates), *(e.tags for e in here)) for tag in tags)


def _mask_ids(batch: Batch, named: Sequence[str], chosen: Sequence[str]) -> dict[int, int]:
    """Value in the true masks → class id; without values of their own the masks hold the numbers of the classes named."""
    numbers = {name: k for k, name in enumerate(chosen, 1)}
    values = batch.mask_values or dict(enumerate(named, 1))
    return {BACKGROUND: BACKGROUND} | {v: numbers[n] for v, n in values.items() if n in numbers}


def _sorted_out(
    batch: Batch, chosen: tuple[str, ...], append_to: Manifest | None, same: SameIds, also: tuple[str, ...]
) -> tuple[list[Candidate], list[LeftOut]]:
    """Candidates to inspect, and those left out: bad ids, duplicate ids, unknown tags, other photographs under ids that are here.

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
            more = ["--classes with new names adds classes"] if append_to else []
            left_out.append(_left(candidate, "; ".join(reasons + more)))
        elif image_id in same.others:
            left_out.append(same.others[image_id])
        elif image_id not in here:
            tags = tuple(sorted(set(candidate.tags) & set(chosen)))
            fresh.append(replace(candidate, tags=tags))
        first.setdefault(image_id, candidate.where)
    return fresh, left_out


def _left(candidate: Candidate, reason: str, what: str = PHOTOGRAPH) -> LeftOut:
    path = candidate.mask if what == MASK and candidate.mask else candidate.path
    return LeftOut(candidate.image_id, candidate.where, path.as_posix(), reason, what)


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
    words = [batch.command, f"--classes {','.join(map(typed, chosen))}"]
    words += [f"--rename {typed(old)}={typed(new)}" for old, new in options.rename.items()]
    words += [f"--val-fraction {fraction:g}"] if fraction is not None else []
    words += [f"--masks {options.masks}"] if options.masks != "upright" else []
    return " ".join(words)


def _twins(manifest: Manifest) -> tuple[tuple[str, ...], ...]:
    counts = Counter(entry.sha256 for entry in manifest.entries)
    groups: dict[str, list[str]] = {}
    for entry in manifest.entries:
        if counts[entry.sha256] > 1:
            groups.setdefault(entry.sha256, []).append(entry.image_id)
    return tuple(tuple(group) for group in groups.values())
