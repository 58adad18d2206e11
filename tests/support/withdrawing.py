"""The steps of `labelfactory withdraw` in the current folder, each by itself."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from made_line import MadeLine

from labelfactory.dataset.manifest import Manifest, read_manifest, write_manifest
from labelfactory.digests import digest_json
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.record import record
from lineage.removal import remove, remove_cached
from lineage.withdraw import begin, touched_by
from lineage.withdrawal_report import Remote, left_over, make_report, search, sign_off, traces_of
from lineage.withdrawals import Withdrawal

CACHE = Path(".dvc/cache/files/md5")
"""Where DVC keeps objects, unless it is told otherwise."""


def tell_ledger(**photographs: str) -> None:
    """Write that these images were withdrawn: id → SHA-256 of the photograph."""
    detail = {"images": list(photographs), "photographs": photographs, "models": [], "by": "test", "reason": ""}
    ledger = Ledger()
    with ledger.locked():
        ledger.append("events", events_table([("withdrawn", digest_json(detail), detail, datetime.now(UTC))]))


def began(*image_ids: str) -> Withdrawal:
    """The event of a withdrawal, and nothing more."""
    ledger = Ledger()
    return begin(ledger, touched_by(Lookup(ledger), image_ids), by="tester", reason="asked for")


def signed(withdrawal: Withdrawal) -> tuple[dict, Path]:
    """Its report, and where it lies."""
    ledger = Ledger()
    found = search(traces_of(Lookup(ledger), withdrawal), withdrawal.cache)
    remove_cached(found.old)
    report = make_report(Lookup(ledger), withdrawal, found, Remote(), withdrawal.cache)
    return report, sign_off(ledger, withdrawal, report)


def left(withdrawal: Withdrawal) -> list[str]:
    """What is left of it once old objects have been deleted from the cache."""
    found = search(traces_of(Lookup(), withdrawal), withdrawal.cache)
    remove_cached(found.old)
    return left_over(found)


def finish(line: MadeLine, withdrawal: Withdrawal) -> None:
    """Delete, run the line without it, sign: nothing may be left."""
    remove(withdrawal)
    line.run()
    record()
    report, _ = signed(withdrawal)
    assert report["left_over"] == []


def neutral_paths() -> Manifest:
    """The import, whose photographs lie under names that say nothing of their ids."""
    entries = [replace(e, path=f"data/raw/{e.sha256[:9]}.png") for e in read_manifest().entries]
    for old, new in zip(read_manifest().entries, entries, strict=True):
        shutil.move(old.path, new.path)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    return read_manifest()


def renamed(line: MadeLine, old: str, new: str) -> None:
    """The import with another id for an image, and the line made of it."""
    entries = (replace(e, image_id=new) if e.image_id == old else e for e in read_manifest().entries)
    write_manifest(replace(read_manifest(), entries=tuple(entries)))
    line.run()
    record()
