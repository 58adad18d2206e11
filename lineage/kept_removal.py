"""Delete what the store keeps of withdrawn images: rows, networks that learnt from them, and networks that were made with those."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.errors import UserError
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport, read_passport
from labelfactory.rows.kept import forget_rows
from labelfactory.store.entries import entries, remove, remove_abandoned
from lineage.withdrawals import Withdrawal


def remove_kept(withdrawal: Withdrawal) -> None:
    """Delete it. The rows of other images stay, and networks that never saw these."""
    remove_abandoned(alone=True)  # the caller holds the line
    forget_rows(withdrawal.has)
    passports: dict[Path, Passport] = {}
    gone: set[str] = set()
    for folder in [entry.path for entry in entries() if (entry.path / CHECKPOINT).exists()]:
        try:
            passport = read_passport(folder / CHECKPOINT)
            rows = pq.read_table(folder / TRAINING_ROWS, columns=["image_id"], partitioning=None)
            saw = not set(withdrawal.images).isdisjoint(rows.column("image_id").to_pylist())
        except (
            UserError,
            OSError,
            ValueError,
            KeyError,
            pa.ArrowException,
        ):  # damaged: what it learnt from is not known
            remove(folder)
            continue
        if saw:
            gone.add(passport.weights_digest)
            remove(folder)
        else:
            passports[folder] = passport
    while heirs := [folder for folder, passport in passports.items() if gone & set(passport.parents.values())]:
        for folder in heirs:
            gone.add(passports.pop(folder).weights_digest)
            remove(folder)
