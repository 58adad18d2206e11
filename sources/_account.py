"""Count what an import found: tags and true masks by class, sizes, modes, orientations, and where tags and masks disagree."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from labelfactory.dataset.account import Account, Images, OfClass
from labelfactory.dataset.left_out import MASK, LeftOut
from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.schema import BACKGROUND, VOID
from sources._import_warnings import warnings_of
from sources._inspect import Inspection

K = TypeVar("K", int, str)


@dataclass(frozen=True)
class Noted:
    """What an import knows beside its manifest."""

    looks: Sequence[tuple[Entry, Inspection]]  # of the photographs that it opened and took
    left_out: Sequence[LeftOut] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    decisions: Sequence[str] = ()
    again: Sequence[tuple[Entry, Inspection]] = ()  # of photographs that are here: it opened their true masks alone


def account_of(manifest: Manifest, noted: Noted, train_list: str, before: Account | None = None) -> Account:
    """The account of an import.

    Args:
        manifest: after the import.
        noted: what the import opened, left out and decided.
        train_list: the list that networks learn from.
        before: the account of the imports that this one appends to; of other classes, its counts of true masks do not hold.
    """
    entries = manifest.entries
    tagged = Counter(tag for entry in entries for tag in entry.tags)
    training = Counter(tag for entry in entries if train_list in entry.lists for tag in entry.tags)
    masks = [*noted.looks, *noted.again]
    looks = _looks(manifest, masks)
    values = Counter(v for look in masks for v in _values(*look) or ())
    photographs = [entry for entry, _ in noted.looks]
    left_out, masks_left_out = left_out_counts(noted.left_out)
    account = Account(
        photographs=len(entries),
        untagged=sum(not entry.tags for entry in entries),
        lists=_sorted(Counter(name for entry in entries for name in entry.lists)),
        classes=tuple(
            replace(looks[name], tagged=tagged[name], training=training[name]) for name in manifest.classes.names
        ),
        true_masks=sum(entry.mask_path is not None for entry in entries),
        looked_at=sum(_values(*look) is not None for look in masks),
        mask_values=_sorted(values),
        sizes=_sizes(entries),
        modes=_sorted(Counter(inspection.mode for _, inspection in noted.looks)),
        orientations=_sorted(Counter(inspection.orientation for _, inspection in noted.looks)),
        flat=Images.of(e.image_id for e, (_, i) in zip(photographs, noted.looks, strict=True) if i.flat),
        left_out=left_out,
        masks_left_out=masks_left_out,
        passed_over=_sorted(noted.passed_over),
        decisions=tuple(noted.decisions),
    )
    if before is not None and {each.name for each in before.classes} != {*manifest.classes.names}:
        before = replace(before, classes=(), looked_at=0, mask_values={})
    if before is not None:
        account = _joined(account, before)
    return replace(account, warnings=tuple(warnings_of(account, manifest.mask_ids, train_list)))


def left_out_counts(left_out: Sequence[LeftOut]) -> tuple[int, int]:
    """How many photographs were left out, and how many true masks of others."""
    masks = sum(item.what == MASK for item in left_out)
    return len(left_out) - masks, masks


def drawn(entry: Entry, manifest: Manifest) -> Inspection:
    """What opening a drawn photograph would find: it was drawn with its true mask, from which its tags were taken."""
    values = frozenset({BACKGROUND, *(int(class_id) for class_id in manifest.classes.ids(entry.tags))})
    return Inspection(
        entry.sha256, entry.mask_sha256, width=entry.width, height=entry.height, mode="RGB", mask_values=values
    )


def _looks(manifest: Manifest, looks: Sequence[tuple[Entry, Inspection]]) -> dict[str, OfClass]:
    """What the true masks that were looked at show of each class, held against the tags."""
    names = manifest.classes.names
    shown: dict[str, list[Entry]] = {name: [] for name in names}
    missing: dict[str, list[Entry]] = {name: [] for name in names}
    for entry, inspection in looks:
        values = _values(entry, inspection)
        if values is None:
            continue
        seen = _shown(values, manifest)
        for name in seen:
            shown[name].append(entry)
        for name in set(entry.tags) - seen:
            missing[name].append(entry)
    return {
        name: OfClass(
            name,
            shown=len(shown[name]),
            shown_and_tagged=sum(name in entry.tags for entry in shown[name]),
            not_shown=Images.of(entry.image_id for entry in missing[name]),
            not_tagged=Images.of(entry.image_id for entry in shown[name] if name not in entry.tags),
        )
        for name in names
    }


def _values(entry: Entry, inspection: Inspection) -> Collection[int] | None:
    """The values of the true mask that was taken; None without one, and where it was not looked at."""
    return inspection.mask_values if entry.mask_path is not None else None


def _shown(values: Collection[int], manifest: Manifest) -> set[str]:
    """The classes of a true mask's values."""
    ids = {manifest.mask_ids.get(value, VOID) for value in values} - {BACKGROUND, VOID}
    return {manifest.classes.with_background[class_id] for class_id in ids}


def _joined(account: Account, before: Account) -> Account:
    """With what the imports before this one saw; what both found, such as a suffix passed over, is counted once."""
    known = {each.name: each for each in before.classes}
    return replace(
        account,
        classes=tuple(c.after(known[c.name]) if c.name in known else c for c in account.classes),
        looked_at=before.looked_at + account.looked_at,
        mask_values=_sorted(Counter(before.mask_values) + Counter(account.mask_values)),
        modes=_sorted(Counter(before.modes) + Counter(account.modes)),
        orientations=_sorted(Counter(before.orientations) + Counter(account.orientations)),
        flat=before.flat + account.flat,
        passed_over=_sorted(Counter(before.passed_over) | Counter(account.passed_over)),
        decisions=tuple(dict.fromkeys((*before.decisions, *account.decisions))),
    )


def _sizes(entries: Sequence[Entry]) -> tuple[tuple[int, int], ...]:
    """Width and height of the smallest, the middle and the largest photograph, by area."""
    known = sorted(((e.width, e.height) for e in entries if e.width), key=lambda size: (size[0] * size[1], size))
    return (known[0], known[len(known) // 2], known[-1]) if known else ()


def _sorted(counts: Mapping[K, int]) -> dict[K, int]:
    return dict(sorted(counts.items()))
