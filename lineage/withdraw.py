"""Withdraw images: list their masks and models, remove them from the import, mark the models, and prove that nothing is left."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.corrections import CORRECTIONS, read_corrections, write_corrections
from labelfactory.dataset.manifest import MANIFEST, Entry, read_manifest, write_manifest
from labelfactory.digests import digest_json
from labelfactory.errors import MissingError, did_you_mean
from labelfactory.files import write_json
from labelfactory.foreign_files import is_allowed
from labelfactory.settings.wiring import DATA
from lineage.artifacts import CACHE
from lineage.ledger import Ledger, events_table
from lineage.lookup import Lookup
from lineage.outbox import Outbox

HISTORY = ("ledger", "mlflow")
"""Folders under data/ that remember what was; they are no output of the line."""


@dataclass(frozen=True)
class Touched:
    """What some images touched, through all time."""

    entries: tuple[Entry, ...]  # their entries in the import
    masks: list[dict[str, Any]]  # of the ledger
    models: list[str]  # digests of those that learnt from them
    descendants: list[str]  # of those that started or learnt from such models
    twins: list[str]  # other images with the same photograph

    @property
    def all_models(self) -> list[str]:
        """Every model that must go."""
        return [*self.models, *self.descendants]


def touched_by(lookup: Lookup, image_ids: Sequence[str]) -> Touched:
    """Every mask and model that these images touched, models through their parents included.

    Raises:
        MissingError: an image stands neither in the import nor in the ledger.
    """
    manifest = read_manifest()
    known = {entry.image_id: entry for entry in manifest.entries}
    masks = [mask for image_id in image_ids for mask in lookup.masks(image_id)]
    users = lookup.users(image_ids)
    recorded = {row["image_id"] for row in [*masks, *users]}
    for image_id in image_ids:
        if image_id not in known and image_id not in recorded:
            near = did_you_mean(image_id, known)
            raise MissingError(
                f"neither the import nor the ledger knows {image_id!r}{near if 'did you mean' in near else ''}",
                "Nothing was withdrawn. Name images as they stand in the import.",
            )
    models, descendants = models_of(lookup, users)
    entries = tuple(known[i] for i in image_ids if i in known)
    hashes = {entry.sha256 for entry in entries}
    twins = [e.image_id for e in manifest.entries if e.sha256 in hashes and e.image_id not in image_ids]
    return Touched(entries, masks, models, descendants, twins)


def models_of(lookup: Lookup, users: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Models that learnt from some rows (`Lookup.users`), and models that started or learnt from their weights."""
    models = list(dict.fromkeys(row["model"] for row in users))
    weights = {lookup.models[digest].weights if digest in lookup.models else digest for digest in models}
    descendants: list[str] = []
    for digest, model in lookup.models.items():  # oldest first, so parents come before their children
        if digest not in models and set(model.passport.parents.values()) & weights:
            descendants.append(digest)
            weights.add(model.weights)
    return models, descendants


def remove(ledger: Ledger, touched: Touched, image_ids: Sequence[str], *, by: str, reason: str) -> dict[str, Any]:
    """Take images out of the import and mark the models, in the ledger and (through the outbox) in the registry.

    Photographs and true masks that lie under data/raw are deleted; those elsewhere are not ours, and are named.
    """
    photographs = {mask["image_id"]: mask["image"] for mask in touched.masks}
    photographs |= {entry.image_id: entry.sha256 for entry in touched.entries}
    detail = {
        "images": list(image_ids),
        "photographs": photographs,
        "models": touched.all_models,
        "by": by,
        "reason": reason,
    }
    now = datetime.now(UTC).replace(microsecond=0)
    identity = digest_json([detail, now.isoformat()])
    # remembered first: a kill after this line leaves an image that `audit verify` names, not one that is forgotten
    with ledger.locked():
        Outbox(ledger.folder / "outbox").put("withdrawn", identity, detail)
        ledger.append("events", events_table([("withdrawn", identity, detail, now)]))
    manifest = read_manifest()
    kept = tuple(entry for entry in manifest.entries if entry.image_id not in image_ids)
    if len(kept) < len(manifest.entries):
        write_manifest(replace(manifest, entries=kept), MANIFEST)
    deleted, elsewhere = _without_corrections(image_ids), []
    for path in (Path(p) for e in touched.entries for p in (e.path, e.mask_path) if p and not touched.twins):
        if path.exists() and is_allowed(path, "delete"):
            path.unlink()
            deleted.append(str(path))
        elif path.exists():
            elsewhere.append(str(path))
    return {"id": identity, "time": now.isoformat(), **detail, "deleted": deleted, "elsewhere": elsewhere}


def _without_corrections(image_ids: Sequence[str]) -> list[str]:
    """Delete what a person drew over these images; gives the files."""
    known = read_corrections(CORRECTIONS)
    gone = [known[image_id].path(CORRECTIONS) for image_id in image_ids if image_id in known]
    if gone:
        write_corrections((c for image_id, c in known.items() if image_id not in image_ids), CORRECTIONS)
    for path in gone:
        path.unlink(missing_ok=True)
    return [str(path) for path in gone]


def tokens(touched: Touched, image_ids: Iterable[str]) -> dict[str, str]:
    """What may stand in no live output: each id, and each digest and key that is the images' own → what it is."""
    words = dict.fromkeys(image_ids, "the image's id")
    for entry in touched.entries:
        words[entry.sha256] = "the photograph's digest"
        if entry.mask_sha256:
            words[entry.mask_sha256] = "the true mask's digest"
    for mask in touched.masks:
        words |= {mask["image"]: "the photograph's digest", mask["key"]: "a mask's key"}
    return words


def left_over(words: dict[str, str]) -> list[str]:
    """Where live outputs still name one of these words: every file under data/ but history."""
    lines = []
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and path.relative_to(DATA).parts[0] not in HISTORY:
            lines += [f"{path}: {words[word]}" for word in sorted(_in_file(path, set(words)))]
    return lines


def _in_file(path: Path, words: set[str]) -> set[str]:
    """The words that a file holds; ids only where they stand alone."""
    if path.suffix == ".parquet":
        try:
            return _in_table(pq.read_table(path, partitioning=None), words)
        except (OSError, pa.ArrowException):
            return set()  # `audit verify` names damaged files
    data = path.read_bytes()
    text = data if path.suffix in (".json", ".csv", ".html") else data[:5_000_000]
    present = {w for w in words if re.search(rb"(?<![\w-])" + re.escape(w.encode()) + rb"(?![\w-])", text)}
    return present | ({path.stem} & words)


def _in_table(table: pa.Table, words: set[str]) -> set[str]:
    present: set[str] = set()
    for name in table.column_names:
        column = table.column(name)
        if pa.types.is_string(column.type):
            for value in column.unique().to_pylist():
                if value in words:
                    present.add(value)
                elif value and value.startswith("{"):
                    present |= {v for v in json.loads(value).values() if isinstance(v, str)} & words
    return present


def in_cache(words: dict[str, str]) -> int:
    """How many files of DVC's cache still name one of these words: old versions, until the cache is collected."""
    count = 0
    for path in CACHE.glob("*/*"):
        if path.is_file():
            with path.open("rb") as stream:
                parquet = stream.read(4) == b"PAR1"
            try:
                count += bool(_in_table(pq.read_table(path, partitioning=None), set(words))) if parquet else False
            except (OSError, pa.ArrowException):
                continue
    return count


def sign_off(ledger: Ledger, report: dict[str, Any]) -> Path:
    """Write the report, and its digest into the ledger: nobody can change it afterwards without being seen."""
    path = ledger.folder / "withdrawals" / f"{report['time'].replace(':', '')}-{report['id'][:8]}.json"
    write_json(path, report)
    with ledger.locked():
        detail = {"report": path.name, "by": report["by"], "left": len(report["left_over"])}
        now = datetime.now(UTC).replace(microsecond=0)
        ledger.append("events", events_table([("signed off", digest_json(report), detail, now)]))
    return path
