"""Whether the ledger is whole, and what it says fits: its chain, its training rows, its reports, withdrawals."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq

from labelfactory.dataset.prepared import IMAGES, read_dataset
from labelfactory.dataset.withdrawn import LEDGER, REMEMBERED, Withdrawn, remembered_photographs, withdrawn_in
from labelfactory.digests import digest_file, digest_json, digest_rows
from labelfactory.errors import UserError, first_line
from lineage.finding import Finding
from lineage.ledger import SCHEMAS, Ledger, LedgerFile
from lineage.lookup import Lookup
from lineage.withdrawals import open_withdrawals


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
        left = "was complete, and something of it came back" if each.left == 0 else left
        yield Finding(f"the withdrawal of {each.names}", f"{left}; `labelfactory run` finishes it")
    gone = withdrawn_in(lookup.ledger.folder, keep=False)
    lost = remembered_photographs() - gone.photographs if lookup.ledger.folder == LEDGER else ()
    if lost:
        what = f"lacks the withdrawal of {len(lost)} photographs, which {REMEMBERED} remembers: restore a newer backup of it"
        yield Finding(str(lookup.ledger.folder), what)
    if gone != Withdrawn():
        for record in records_of_data_set():
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


def records_of_data_set() -> Iterable[Any]:
    """The records of the data set; none of one that is damaged, which `check_lock` says."""
    try:
        return read_dataset(IMAGES).records
    except UserError:
        return ()
