"""Photographs of an appending import whose ids are here: the same again, or others, which cannot be taken under these ids."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from labelfactory.dataset.left_out import OTHER, LeftOut
from labelfactory.dataset.manifest import Manifest
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import FileRefusedError
from sources._batch import Batch, Candidate
from sources._stored_path import stored


@dataclass(frozen=True)
class SameIds:
    """The candidates of a batch whose ids are here, by id."""

    again: Mapping[str, Candidate] = field(default_factory=dict)  # the photograph that is here: nothing is to be taken
    others: Mapping[str, LeftOut] = field(default_factory=dict)  # another one, with the reason
    refused: tuple[tuple[Candidate, str], ...] = ()  # another one that is withdrawn, with its digest
    decisions: tuple[str, ...] = ()  # for a person


def same_ids(here: Manifest, batch: Batch) -> SameIds:
    """Hold the candidates whose ids are here against the photographs of these ids.

    A file of the user's is the same photograph without being opened, even if it was edited since: `prepare` finds that. A file at
    another path, and one inside a dataset, are the same if their bytes are. Nothing is fetched for it: signed addresses of one
    photograph differ every day.
    """
    entries = {entry.image_id: entry for entry in here.entries}
    known = {c.image_id: c for c in reversed(batch.candidates) if c.image_id in entries}  # the first of each id
    moved = [c for c in known.values() if c.is_unpacked or stored(c.path) != entries[c.image_id].path]
    by_bytes = [c for c in moved if not c.fetched or c.path.is_file()]
    with ThreadPoolExecutor() as pool:
        digests = dict(zip((c.image_id for c in by_bytes), pool.map(_digest, by_bytes), strict=True))
    gone, others, refused = withdrawn(), dict[str, LeftOut](), []
    for candidate in reversed(by_bytes):
        digest, problem = digests[candidate.image_id]
        if digest in gone.photographs:
            refused.append((candidate.named_by_content(digest, None), digest))
        elif digest != entries[candidate.image_id].sha256:
            others[candidate.image_id] = _other(candidate, problem)
    not_same = {*others, *(candidate.image_id for candidate, _ in refused)}
    again = {name: c for name, c in known.items() if name not in not_same}
    return SameIds(again, others, tuple(refused), _said_of_addresses(len(moved) - len(by_bytes)))


def _said_of_addresses(count: int) -> tuple[str, ...]:
    if not count:
        return ()
    return (
        f"{count} photographs have other addresses than those that are here under their ids: taken for the same and not fetched; "
        "others need ids of their own",
    )


def _digest(candidate: Candidate) -> tuple[str, str]:
    """SHA-256 of a photograph, or the reason why it cannot be read."""
    try:
        return digest_bytes(candidate.read_photograph()), ""
    except FileRefusedError as error:
        return "", error.reason
    except DataError as error:
        return "", error.problem


def _other(candidate: Candidate, problem: str) -> LeftOut:
    reason = problem or (
        "another photograph is here under its id; with another id or file name it is taken too, without --append it takes that "
        "one's place"
    )
    return LeftOut(candidate.image_id, candidate.where, stored(candidate.path), reason, OTHER)
