"""Recompute every digest, and name everything that differs.

Always: the ledger's chain, its training rows against the passports, keys of rows, passports of checkpoints, the classes of
networks and rows, and every file that dvc.lock names. Deep: also the payload of every row, every photograph, and every
checkpoint that MLflow keeps.
"""

from collections.abc import Iterator

from labelfactory.learning.checkpoints import CHECKPOINT
from labelfactory.settings.wiring import DATA, read_wiring
from lineage.finding import Finding
from lineage.ledger import Ledger
from lineage.lookup import Lookup
from lineage.mlflow_home import HOME
from lineage.outbox import Outbox
from lineage.verify_ledger import check_chain, check_ledger
from lineage.verify_outputs import (
    check_audits,
    check_checkpoints,
    check_classes,
    check_corrections,
    check_inheritance,
    check_lock,
    check_photographs,
    check_rows,
)


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
    findings += check_audits()
    findings += check_lock()
    findings += check_letters(Outbox(ledger.folder / "outbox"))
    if deep:
        findings += check_photographs()
        findings += check_checkpoints(HOME.glob("artifacts/**/*.safetensors"))
    return findings


def check_letters(outbox: Outbox) -> Iterator[Finding]:
    """MLflow takes everything that it is told."""
    for letter in outbox.refused():
        yield Finding(str(letter.path), f"MLflow does not take it: {letter.line}; `labelfactory record` tries it again")
