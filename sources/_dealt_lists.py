"""The list of each photograph: the source's own, or dealt; no photograph is on the training and the validation list."""

import re
from collections.abc import Mapping, Sequence

from labelfactory.console import one_line
from labelfactory.dataset.manifest import Manifest, same_bytes
from labelfactory.errors import DataError
from sources._batch import Candidate
from sources._inspect import Inspection
from sources._split import TRAIN, VAL, deal

FRACTION = re.compile(r" --val-fraction (?P<fraction>[0-9.e-]+)(?: --masks \w+)?$")
"""At the end of a manifest's source: folders and names before it may hold such words too."""


def dealt_lists(
    taken: Sequence[tuple[Candidate, Inspection]], fraction: float | None, old: Manifest | None, *, append: bool
) -> Mapping[str, str]:
    """Digest → list, for photographs that are dealt to lists; empty if the source's own lists are kept.

    Args:
        taken: the photographs of the import.
        fraction: share of val; None: the source's own lists, or 0.2 where it has none.
        old: the manifest on the disk; its photographs keep their list.
        append: whether the import extends it.
    """
    if fraction is None and any(candidate.lists for candidate, _ in taken):
        return {}
    if fraction is None:
        fraction = 0.2
    tags: dict[str, frozenset[str]] = {}
    for candidate, inspection in taken:
        tags[inspection.sha256] = tags.get(inspection.sha256, frozenset()) | set(candidate.tags)
    dealt: dict[str, str] = {}
    if old is not None and (append or _dealt_fraction(old) == float(f"{fraction:g}")):
        for entry in old.entries:
            if entry.lists in ((TRAIN,), (VAL,)):
                dealt[entry.sha256] = entry.lists[0]
                if append:
                    tags.setdefault(entry.sha256, frozenset(entry.tags))
    return deal(tags, fraction, dealt)


def _dealt_fraction(old: Manifest) -> float | None:
    """The share of val that a manifest states; None if its lists are the source's own."""
    stated = FRACTION.search(old.source)
    return float(stated["fraction"]) if stated else None


def refuse_leaks(manifest: Manifest, train_list: str, val_list: str) -> None:
    """Refuse a manifest of which a photograph is on both lists.

    Raises:
        DataError: names the files.
    """
    leaks = same_bytes(manifest.entries, train_list, val_list)
    if leaks:
        groups = [
            one_line(", ".join(f"{e.path} ({'+'.join(e.lists)})" for e in sorted(group, key=lambda e: e.path)))
            for group in leaks
        ]
        raise DataError(
            "\n".join(
                [
                    f"the lists {train_list!r} and {val_list!r} share {len(leaks)} photographs (same bytes)",
                    *(f"  {group}" for group in groups),
                ]
            ),
            "Remove each from one of the lists, or split them with --val-fraction, and import again.",
        )
