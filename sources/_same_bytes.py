"""Photographs of the same bytes under several image ids, with different tags: one photograph with all of them.

Left apart, each would teach that the other's object is background.
"""

from collections.abc import Sequence
from dataclasses import replace

from labelfactory.dataset.manifest import Entry
from sources._batch import Candidate
from sources._inspect import Inspection

EXAMPLES = 3

Taken = list[tuple[Candidate, Inspection]]


def joined(taken: Taken, *, dealt: bool) -> tuple[Taken, list[str]]:
    """Join them; photographs whose tags are the same, or that are on other lists, stay apart.

    Args:
        taken: the photographs of an import.
        dealt: whether they are dealt to lists, whatever lists they are on.

    Returns:
        The photographs, and a decision that says which were joined. The first of each keeps its id and its tags get the
        others'; its true mask stays if all have the same one, since a mask that shows one object would call the other
        background.
    """
    groups: dict[tuple[str, frozenset[str]], Taken] = {}
    for candidate, inspection in taken:
        lists = frozenset() if dealt else frozenset(candidate.lists)
        groups.setdefault((inspection.sha256, lists), []).append((candidate, inspection))
    apart = {key: group for key, group in groups.items() if len({frozenset(c.tags) for c, _ in group}) > 1}
    if not apart:
        return taken, []
    kept = {group[0][0].image_id: _one(group) for group in apart.values()}
    gone = {candidate.image_id for group in apart.values() for candidate, _ in group[1:]}
    examples = [" = ".join(_said(candidate) for candidate, _ in group) for group in [*apart.values()][:EXAMPLES]]
    more = ["…"] if len(apart) > EXAMPLES else []
    shown = "; ".join([*examples, *more])
    said = f"the same photograph with different tags, {len(apart)} times: one photograph with all of them ({shown})"
    return [kept.get(c.image_id, (c, inspection)) for c, inspection in taken if c.image_id not in gone], [said]


def notes_of_twins(taken: Taken, old: Sequence[Entry]) -> list[str]:
    """A line for new photographs of the same bytes as one that is there with other tags: an entry that is there stays."""
    here = {entry.sha256: entry for entry in old}
    pairs = [(c, here[i.sha256]) for c, i in taken if i.sha256 in here and {*c.tags} != {*here[i.sha256].tags}]
    shown = [
        f"{_said(c)} = {entry.image_id!r} {'+'.join(entry.tags) or 'without a tag'}" for c, entry in pairs[:EXAMPLES]
    ]
    if not pairs:
        return []
    more = "; …" if len(pairs) > EXAMPLES else ""
    return [
        f"{len(pairs)} new photographs are ones that are here with other tags ({'; '.join(shown)}{more}); each mask takes the "
        "other's object for background: import all of them together, without --append, and they become one"
    ]


def _one(group: Sequence[tuple[Candidate, Inspection]]) -> tuple[Candidate, Inspection]:
    candidate, inspection = group[0]
    candidate = replace(candidate, tags=tuple(sorted({tag for other, _ in group for tag in other.tags})))
    if len({other.mask_sha256 for _, other in group}) > 1:
        candidate = replace(candidate, mask=None, mask_bytes=None)
        inspection = replace(inspection, mask_sha256=None)
    return candidate, inspection


def _said(candidate: Candidate) -> str:
    return f"{candidate.image_id!r} {'+'.join(candidate.tags) or 'without a tag'}"
