"""What was withdrawn: photographs and ids that no import, pull, correction or data set takes again.

The origin are the events `withdrawn` of the ledger (data/ledger/*-events.parquet, lineage/ledger.py), which only grow. What was
read of them is kept in data/ledger/withdrawn.json, so that only new files are opened; that file may be deleted.

A photograph is known by the SHA-256 of its file: one that was saved again is another photograph. An id is known too, since the
ledger and every audit mean the withdrawn image by it.
"""

import json
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from labelfactory.console import first_of, say
from labelfactory.dataset.manifest import Entry
from labelfactory.dataset.prepared import Dataset
from labelfactory.digests import SHA256, digest_file
from labelfactory.errors import DataError, first_line
from labelfactory.files import DiskError, write_json
from labelfactory.json_files import Sha256, read_json

LEDGER = Path("data/ledger")
KEPT = "withdrawn.json"
"""Beside the ledger's files: what was read of them."""
REMEMBERED = Path(".labelfactory/withdrawn.json")
"""Outside of the ledger, which may be restored from a backup: digests, no ids."""
EVENT = "withdrawn"
SHOWN = 10


@dataclass(frozen=True)
class Withdrawn:
    """Everything that was ever withdrawn."""

    photographs: frozenset[str] = frozenset()  # SHA-256 of their files
    image_ids: frozenset[str] = frozenset()

    def refuses(self, image_id: str, sha256: str) -> bool:
        """Whether a photograph must not be taken: its bytes or its id were withdrawn."""
        return sha256 in self.photographs or image_id in self.image_ids

    def kept(self, entries: Collection[Entry]) -> tuple[Entry, ...]:
        """The entries of an import that are not refused."""
        return tuple(entry for entry in entries if not self.refuses(entry.image_id, entry.sha256))


def withdrawn(*, keep: bool = True) -> Withdrawn:
    """What was withdrawn in this project: what its ledger says, and photographs that one which was here before said.

    `keep`: write down what was read.

    Raises:
        DataError: a file of the ledger that was not read before is damaged.
    """
    told, remembered = withdrawn_in(LEDGER, keep=keep), remembered_photographs()
    if keep and not told.photographs <= remembered:
        with suppress(OSError, DiskError):
            write_json(REMEMBERED, {"photographs": sorted(told.photographs | remembered)})
    return Withdrawn(told.photographs | remembered, told.image_ids)


def without_withdrawn(dataset: Dataset) -> Dataset:
    """The data set without what was withdrawn since it was prepared: `withdraw --later` leaves it as it is until the next run."""
    gone = withdrawn()
    kept = tuple(r for r in dataset.records if not gone.refuses(r.image_id, r.sha256))
    return replace(dataset, records=kept) if len(kept) < len(dataset.records) else dataset


def remembered_photographs() -> frozenset[str]:
    """SHA-256 of photographs that were withdrawn here, whichever ledger said so: one may be restored from before."""
    try:
        kept: _Remembered = read_json(REMEMBERED, _Remembered, "")
    except DataError:
        return frozenset()
    return digests_of(kept.photographs)


def digests_of(texts: Iterable[str]) -> frozenset[str]:
    """Those that are digests: an earlier program took whatever a list at a remote had, and an empty text is in every file."""
    return frozenset(text for text in texts if SHA256.fullmatch(text))


def withdrawn_in(folder: Path, *, keep: bool = True) -> Withdrawn:
    """What the ledger in a folder says was withdrawn; nothing where there is no ledger. `keep`: write down what was read.

    Raises:
        DataError: a file of the ledger that was not read before is damaged.
    """
    files = sorted(folder.glob("[0-9]*-events.parquet"))
    if not files:
        return Withdrawn()
    last, known = _kept(folder)
    names = [path.name for path in files]
    fresh = files[names.index(last) + 1 :] if last in names else files
    photographs, image_ids = (set(known.photographs), set(known.image_ids)) if last in names else (set(), set())
    for path in fresh:
        for detail in _details(path):
            photographs |= digests_of([*detail.digests, *detail.photographs.values()])
            image_ids |= set(detail.images)
    if fresh and keep:
        found = {"photographs": sorted(photographs), "image_ids": sorted(image_ids)}
        with suppress(OSError, DiskError):  # it only saves reading
            write_json(folder / KEPT, {"last": names[-1], "digest": digest_file(files[-1]), **found})
    return Withdrawn(frozenset(photographs), frozenset(image_ids))


def say_refused(refused: Collection[tuple[str, str]], *, doing: str = "import") -> None:
    """Print how many photographs were refused. `refused`: id and digest of each."""
    if not refused:
        return
    say(f"{doing}: {len(refused)} withdrawn photographs are left out")
    photographs = withdrawn().photographs
    reused = [image_id for image_id, sha256 in refused if sha256 and sha256 not in photographs]
    if reused:
        say(
            f"{doing}: of these, {first_of(reused, SHOWN)} are other photographs under the ids of withdrawn images: "
            "give them other ids"
        )


def _kept(folder: Path) -> tuple[str, Withdrawn]:
    """The last file of the ledger that was read, and what was withdrawn until then; empty where nothing of this ledger is kept."""
    try:
        kept: _Kept = read_json(folder / KEPT, _Kept, "")
        if digest_file(folder / Path(kept.last).name) != kept.digest:
            return "", Withdrawn()
    except (DataError, OSError):
        return "", Withdrawn()
    return kept.last, Withdrawn(frozenset(kept.photographs), frozenset(kept.image_ids))


class _Remembered(BaseModel):
    photographs: list[str]


class _Kept(BaseModel):
    last: str
    digest: str
    photographs: list[Sha256]
    image_ids: list[str]


class _Detail(BaseModel):
    """What an event `withdrawn` names."""

    images: list[str]
    photographs: dict[str, str]
    digests: list[str] = []


def _details(path: Path) -> list[_Detail]:
    """The withdrawals in a file of the ledger. Names of files in them may be no UTF-8, which pydantic's parser of JSON refuses."""
    try:
        table = pq.read_table(path, columns=["event", "detail"], partitioning=None, page_checksum_verification=True)
        rows = table.to_pylist()
        return [_Detail.model_validate(json.loads(row["detail"])) for row in rows if row["event"] == EVENT]
    except (OSError, ValueError, RecursionError, pa.ArrowException) as error:
        problem = f"{path}: damaged: {first_line(error)}"
        raise DataError(problem, "Restore the file from a backup; the ledger cannot be made again.") from None
