"""Whether what stands under data/ is what its makers left: networks, rows, corrections, files of dvc.lock, photographs."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelfactory.console import first_of
from labelfactory.dataset.audits import AUDITS, read_audits
from labelfactory.dataset.corrections import corrected_mask, read_corrections
from labelfactory.dataset.images import read_photograph
from labelfactory.dataset.prepared import classes_of
from labelfactory.digests import digest_file
from labelfactory.dvc_cache import cached
from labelfactory.errors import UserError, first_line
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport, load_checkpoint
from labelfactory.learning.learnt_classes import SHOWN, not_the_same
from labelfactory.progress import progress
from labelfactory.rows.shards import ShardFolder, row_key
from labelfactory.schema import Classes
from labelfactory.settings.wiring import DATA, LOCK_FILE, last_runs, read_wiring
from lineage.artifacts import files_in, md5_of, passport_or_none
from lineage.finding import Finding
from lineage.ledger_rows import rows_digest
from lineage.verify_ledger import records_of_data_set


def check_checkpoints(paths: Iterable[Path]) -> Iterator[Finding]:
    """Weights fit the passport, and so does the list of rows beside them."""
    for path in paths:
        if not path.exists():
            continue
        try:
            _, passport = load_checkpoint(path)
        except Exception as error:  # damaged bytes fail in the reader in any way
            problem = error.problem if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            yield Finding(str(path), problem.removeprefix(f"{path}: "))
            continue
        rows = path.with_name(TRAINING_ROWS)
        try:
            if rows.exists() and rows_digest(pq.read_table(rows, partitioning=None)) != passport.training_rows_digest:
                yield Finding(str(rows), "its rows are not those that the checkpoint's passport names")
        except Exception as error:  # likewise
            yield Finding(str(rows), f"damaged: {first_line(error)}")


def _networks() -> dict[str, Passport]:
    """The passports of the networks under data/; none of a damaged one, which `check_checkpoints` names."""
    on_disk = {noun: passport_or_none(DATA / noun / CHECKPOINT) for noun in read_wiring().networks}
    return {noun: passport for noun, passport in on_disk.items() if passport is not None}


def check_classes() -> Iterator[Finding]:
    """The networks that rows are made with learnt the classes of these rows, and both are those of the data set."""
    try:
        now = classes_of().names
    except UserError:  # none yet, or damaged, which `check_lock` says
        return
    networks = _networks()
    for noun, passport in networks.items():
        if tuple(passport.classes) != now:
            problem = not_the_same(passport.classes, now, of="the data set")
            yield Finding(str(DATA / noun / CHECKPOINT), f"{problem}; `labelfactory run` trains it anew")
    wrong = [noun for noun, passport in networks.items() if tuple(passport.classes) != now]
    for noun in read_wiring().row_outputs:
        others, makers = 0, Counter[str]()
        for inputs in _inputs_of(ShardFolder(DATA / noun)):
            classes = inputs.get("classes", [*now])
            others += classes != [*now]
            if classes == [*now] and "classes" in inputs:  # the others may be of another training with these weights
                makers.update(n for n in wrong if inputs.get(n) == networks[n].weights_digest)
        if others:
            yield Finding(str(DATA / noun), f"{others} rows are of other classes than the data set's")
        for network, count in makers.items():
            learnt = first_of(networks[network].classes, SHOWN)
            what = f"{count} rows were made with data/{network}, which was trained for the classes {learnt}"
            yield Finding(str(DATA / noun), f"{what}: they are wrong, and so is what was made of them")


def _inputs_of(folder: ShardFolder) -> Iterator[Mapping[str, Any]]:
    """What each usable row says that it was made of; nothing of a damaged shard, which `check_rows` names."""
    for shard in folder.shards():
        try:
            table = pq.read_table(folder.path(shard), columns=["status", "inputs"], page_checksum_verification=True)
            stated = [json.loads(row["inputs"]) for row in table.to_pylist() if row["status"] == "ok"]
        except Exception:  # damaged bytes fail in the reader in any way
            continue
        yield from (inputs for inputs in stated if isinstance(inputs, dict))


def check_inheritance() -> Iterator[Finding]:
    """A network names every kind of label that the networks behind it saw, and every one that they were allowed to see."""
    networks = _networks()
    for noun, passport in networks.items():
        for name, weights in passport.parents.items():
            parent = networks.get(name)
            # other weights: trained anew since, and not the one that it was built on
            if parent is None or parent.weights_digest != weights:
                continue
            lost = set(parent.supervision) - set(passport.supervision)
            lost |= set(parent.allowed_supervision) - set(passport.allowed_supervision)
            if lost:
                kinds = ", ".join(sorted(lost))
                what = f"its passport does not name {kinds}, which {DATA / name} does; `labelfactory run` adds it"
                yield Finding(str(DATA / noun / CHECKPOINT), what)


def check_rows(*, deep: bool) -> Iterator[Finding]:
    """Keys are those of the inputs that a row names; deep: digests are those of the payload."""
    for noun in read_wiring().row_outputs:
        folder = ShardFolder(DATA / noun)
        for shard in folder.shards():
            path = folder.path(shard)
            try:
                rows = pq.read_table(
                    path, columns=["image_id", "key", "status", "inputs"], page_checksum_verification=True
                ).to_pylist()
                for row in rows:
                    if row_key(json.loads(row["inputs"])) != row["key"]:
                        yield Finding(f"{path}, row {row['image_id']}", "its key is not that of its inputs")
                good = [(position, row["image_id"]) for position, row in enumerate(rows) if row["status"] == "ok"]
            except Exception as error:  # damaged bytes fail in the reader in any way
                yield Finding(str(path), f"damaged: {first_line(error)}")
                continue
            if deep:
                with progress(f"{noun} {shard}", len(good)) as tick:
                    for position, image_id in good:
                        yield from _payload(folder, shard, position, image_id)
                        tick()


def _payload(folder: ShardFolder, shard: int, position: int, image_id: str) -> Iterator[Finding]:
    try:
        folder.row(shard, position)
    except UserError as error:
        yield Finding(f"{folder.path(shard)}, row {image_id}", error.problem.rpartition("damaged: ")[2])


def check_audits() -> Iterator[Finding]:
    """True masks of audited images that are missing or not as they were added; by their bytes, as nobody here opens them."""
    try:
        known = read_audits()
    except UserError as error:
        yield Finding("data/audits", error.problem)
        return
    for audit in known.values():
        path = audit.path(AUDITS)
        if not path.is_file() or digest_file(path) != audit.mask:
            yield Finding(str(path), "changed since it was added" if path.is_file() else "missing")


def check_corrections() -> Iterator[Finding]:
    """Every mask that a person gave is the one that was added."""
    try:
        known = read_corrections()
    except UserError as error:
        yield Finding("data/corrections", error.problem)
        return
    for correction in known.values():
        try:
            corrected_mask(correction, Classes(correction.classes))
        except UserError as error:
            yield Finding(str(correction.path()), error.problem.removeprefix(f"{correction.path()}: "))


def check_lock() -> Iterator[Finding]:
    """Every file that dvc.lock names has the bytes that it had then."""
    try:
        runs = last_runs()
    except UserError as error:
        yield Finding(str(LOCK_FILE), error.problem.removeprefix(f"{LOCK_FILE}: "))
        return
    for stage, entry in runs.items():
        for out in entry.get("outs", ()):
            if not out["md5"].endswith(".dir"):
                yield from _file(stage, Path(out["path"]), out["md5"])
                continue
            listed = cached(out["md5"])
            if not listed.exists():
                continue  # DVC's cache was collected: the list of files is gone, rows and passports still prove theirs
            try:
                files = files_in(listed)
            except UserError as error:
                yield Finding(str(listed), error.problem.removeprefix(f"{listed}: "))
                continue
            for file in files:
                yield from _file(stage, Path(out["path"]) / file.relpath, file.md5)


def _file(stage: str, path: Path, md5: str) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(str(path), f"is missing; {stage} made it")
    elif not path.is_file():  # of a hostile lock: a device or a FIFO has no end
        yield Finding(str(path), f"is not a file; {stage} made one")
    elif md5_of(path) != md5:
        yield Finding(str(path), f"changed since {stage} made it{_first_difference(path, cached(md5), md5)}")


def _first_difference(path: Path, kept: Path, md5: str) -> str:
    """Where it differs from the copy in DVC's cache, if that copy is intact."""
    if not kept.exists() or md5_of(kept) != md5:
        return ""
    new, old = path.read_bytes(), kept.read_bytes()
    offsets = [i for i, (a, b) in enumerate(zip(new, old, strict=False)) if a != b]
    first = offsets[0] if offsets else min(len(new), len(old))
    count = len(offsets) + abs(len(new) - len(old))
    return f": {count} of {len(old)} bytes, the first at offset {first}"


def check_photographs() -> Iterator[Finding]:
    """Every photograph is the one that was imported."""
    records = [r for r in records_of_data_set() if r.status == "ok"]
    with progress("photographs", len(records)) as tick:
        for record in records:
            try:
                read_photograph(Path(record.path), record.sha256)
            except UserError as error:
                yield Finding(record.path, error.problem.removeprefix(f"{record.path}: "))
            tick()
