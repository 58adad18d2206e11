"""Recompute every digest, and name everything that differs.

Always: the ledger's chain, its training rows against the passports, keys of rows, passports of checkpoints, the classes of
networks and rows, and every file that dvc.lock names. Deep: also the payload of every row, every photograph, and every
checkpoint that MLflow keeps.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from labelfactory.console import first_of
from labelfactory.dataset.corrections import corrected_mask, read_corrections
from labelfactory.dataset.images import read_photograph
from labelfactory.dataset.prepared import IMAGES, classes_of, read_dataset
from labelfactory.dataset.withdrawn import LEDGER, REMEMBERED, Withdrawn, remembered_photographs, withdrawn_in
from labelfactory.digests import digest_file, digest_json, digest_rows
from labelfactory.dvc_cache import cached
from labelfactory.errors import UserError, first_line
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport, load_checkpoint
from labelfactory.learning.learnt_classes import SHOWN, not_the_same
from labelfactory.progress import progress
from labelfactory.rows.shards import ShardFolder, row_key
from labelfactory.schema import Classes
from labelfactory.settings.wiring import DATA, LOCK_FILE, last_runs, read_wiring
from labelfactory.stage.output_state import passport_of
from lineage.artifacts import files_in, md5_of, passport_or_none
from lineage.ledger import SCHEMAS, Ledger, LedgerFile
from lineage.ledger_rows import rows_digest
from lineage.lookup import Lookup
from lineage.mlflow_home import HOME
from lineage.outbox import Outbox
from lineage.withdrawals import open_withdrawals


@dataclass(frozen=True)
class Finding:
    """Something that does not fit."""

    where: str
    what: str


def verify(ledger: Ledger | None = None, *, deep: bool = False) -> list[Finding]:
    """Everything that does not fit; an empty list is the proof that all does."""
    ledger = ledger or Ledger()
    findings = list(check_chain(ledger))
    if not findings:
        findings += check_ledger(Lookup(ledger, fresh=True))
    findings += check_checkpoints(DATA / noun / CHECKPOINT for noun in read_wiring().networks)
    findings += check_classes()
    findings += check_inheritance()
    findings += check_rows(deep=deep)
    findings += check_corrections()
    findings += check_lock()
    findings += check_letters(Outbox(ledger.folder / "outbox"))
    if deep:
        findings += check_photographs()
        findings += check_checkpoints(HOME.glob("artifacts/**/*.safetensors"))
    return findings


def check_chain(ledger: Ledger) -> Iterator[Finding]:
    """Each file names the digest of the one before; none is missing, none is damaged."""
    expected, previous = 1, ""
    head = ledger.head()
    for file in ledger.files():
        if file.sequence != expected:
            yield Finding(str(ledger.folder), f"files {expected} to {file.sequence - 1} are missing")
        problem = _damage(file)
        if problem:
            yield Finding(str(file.path), problem)
        elif file.sequence == expected and file.previous() != previous:
            yield Finding(str(file.path), f"the chain breaks: it names another digest of file {expected - 1}")
        expected, previous = file.sequence + 1, digest_file(file.path)
    last = expected - 1
    if head["sequence"] > last:
        yield Finding(str(ledger.folder), f"files {expected} to {head['sequence']} are missing")
    elif last and head["sequence"] == last and head["digest"] != previous:
        yield Finding(str(ledger.files()[-1].path), "changed since it was written: HEAD names another digest")
    elif last > head["sequence"] + 1:
        yield Finding(str(ledger.head_path), f"names file {head['sequence']}, but there are {last}")


def _damage(file: LedgerFile) -> str:
    """What is wrong with one file of the ledger by itself; empty where nothing is."""
    try:
        table = pq.read_table(file.path, partitioning=None, page_checksum_verification=True)
        meta = json.loads((table.schema.metadata or {})[b"labelfactory"])
        stated, columns = (meta["sequence"], meta["kind"]), table.column_names
    except Exception as error:  # damaged bytes fail in the reader in any way
        return f"damaged: {first_line(error)}"
    if columns != SCHEMAS[file.kind].names:
        return "its columns are not the ledger's"
    return "" if stated == (file.sequence, file.kind) else f"says that it is number {stated[0]} of kind {stated[1]}"


def check_ledger(lookup: Lookup) -> Iterator[Finding]:
    """Training rows give the digest in the passport; executions made what they are said to have made; equal keys mean equal
    masks; withdrawn images stay away."""
    for digest, model in lookup.models.items():
        table = lookup.training(digest)
        digests = (value.hex() for value in table.column("digest").to_pylist())
        rows = digest_rows(zip(table.column("image_id").to_pylist(), digests, strict=True))
        if table.num_rows and rows != model.passport.training_rows_digest:
            yield Finding(f"{model.label} in the ledger", "its training rows are not those that its passport names")
        elif not table.num_rows:
            yield Finding(f"{model.label} in the ledger", "the list of its training rows is lost")
    yield from _runs_of_models(lookup)
    twice = lookup.rows(
        "SELECT image_id, key FROM masks WHERE source <> 'human' GROUP BY image_id, key HAVING count(DISTINCT digest) > 1"
    )
    for row in twice:
        yield Finding(
            f"mask of {row['image_id']}", f"two masks with the key {row['key']}: one was not made by the line"
        )
    yield from _reports(lookup)
    for each in open_withdrawals(lookup.ledger):
        left = "is not complete" if each.left is None else f"is not complete, its report names {each.left} places"
        yield Finding(f"the withdrawal of {each.names}", f"{left}; `labelfactory run` finishes it")
    gone = withdrawn_in(lookup.ledger.folder, keep=False)
    lost = remembered_photographs() - gone.photographs if lookup.ledger.folder == LEDGER else ()
    if lost:
        what = f"lacks the withdrawal of {len(lost)} photographs, which {REMEMBERED} remembers: restore a newer backup of it"
        yield Finding(str(lookup.ledger.folder), what)
    if gone != Withdrawn():
        for record in _records():
            if gone.refuses(record.image_id, record.sha256):
                yield Finding(f"image {record.image_id}", "was withdrawn, and is in the data set again")


def _runs_of_models(lookup: Lookup) -> Iterator[Finding]:
    """The execution that a model's event names made this model."""
    stated = {e["subject"]: e["detail"]["run"] for e in lookup.events if e["event"] == "model"}
    for digest, model in lookup.models.items():
        if stated[digest] and model.run != stated[digest]:
            yield Finding(
                f"{model.label} in the ledger",
                f"it was recorded under the execution {stated[digest][:12]}, which did not make it; "
                f"{f'{model.run[:12]} did' if model.run else 'which one did is not known'}",
            )


def _reports(lookup: Lookup) -> Iterator[Finding]:
    """Signed reports of withdrawals are those whose digest the ledger holds."""
    for event in lookup.ledger.events("signed off"):
        path = lookup.ledger.folder / "withdrawals" / event["detail"]["report"]
        try:
            same = digest_json(json.loads(path.read_text(encoding="utf-8"))) == event["subject"]
        except (OSError, ValueError, RecursionError):
            same = False
        if not same:
            yield Finding(str(path), "is not the report that was signed")


def _records() -> Iterable[Any]:
    """The records of the data set; none of one that is damaged, which `check_lock` says."""
    try:
        return read_dataset(DATA / "dataset" / "images.parquet").records
    except UserError:
        return ()


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


def check_classes() -> Iterator[Finding]:
    """The networks that rows are made with learnt the classes of these rows, and both are those of the data set."""
    try:
        now = classes_of(IMAGES).names
    except UserError:  # none yet, or damaged, which `check_lock` says
        return
    networks = {noun: passport for noun in read_wiring().networks if (passport := passport_of(noun)) is not None}
    for noun, passport in networks.items():
        if tuple(passport.classes) != now:
            problem = not_the_same(passport.classes, now, of="the data set")
            yield Finding(str(DATA / noun / CHECKPOINT), f"{problem}; `labelfactory run` trains it anew")
    for noun in read_wiring().row_outputs:
        others, makers = 0, Counter[str]()
        for inputs in _inputs_of(ShardFolder(DATA / noun)):
            others += inputs.get("classes", [*now]) != [*now]
            if inputs.get("classes", [*now]) == [*now]:  # the others may be of another training with these weights
                makers.update(n for n, p in networks.items() if _is_of_other_classes(inputs, n, p))
        if others:
            yield Finding(str(DATA / noun), f"{others} rows are of other classes than the data set's")
        for network, count in makers.items():
            learnt = first_of(networks[network].classes, SHOWN)
            what = f"{count} rows were made with data/{network}, which was trained for the classes {learnt}"
            yield Finding(str(DATA / noun), f"{what}: they are wrong, and so is what was made of them")


def _is_of_other_classes(inputs: Mapping[str, Any], network: str, passport: Passport) -> bool:
    """Whether a row was made with a network that learnt other classes than the row's."""
    return (
        inputs.get(network) == passport.weights_digest and inputs.get("classes", passport.classes) != passport.classes
    )


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
    on_disk = {noun: passport_or_none(DATA / noun / CHECKPOINT) for noun in read_wiring().networks}
    networks = {noun: passport for noun, passport in on_disk.items() if passport is not None}
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


def check_letters(outbox: Outbox) -> Iterator[Finding]:
    """MLflow takes everything that it is told."""
    for letter in outbox.refused():
        yield Finding(str(letter.path), f"MLflow does not take it: {letter.line}; `labelfactory record` tries it again")


def check_photographs() -> Iterator[Finding]:
    """Every photograph is the one that was imported."""
    records = [r for r in _records() if r.status == "ok"]
    with progress("photographs", len(records)) as tick:
        for record in records:
            try:
                read_photograph(Path(record.path), record.sha256)
            except UserError as error:
                yield Finding(record.path, error.problem.removeprefix(f"{record.path}: "))
            tick()
