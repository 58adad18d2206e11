"""Audits of a model. Each answer is plain JSON; `app/audit.py` prints it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.level_record import UNKNOWN
from labelfactory.errors import DataError, first_line
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport, load_checkpoint, read_passport
from lineage.ledger_rows import rows_digest
from lineage.level import level_of
from lineage.lookup import Lookup, Model
from lineage.scores import scores_of

Answer = dict[str, Any]


def audit_file(path: Path) -> Answer:
    """A checkpoint with nothing but its own folder: no ledger, no MLflow, no network.

    Raises:
        MissingError: no such checkpoint.
        DataError: it is damaged, or not one of ours.
    """
    path = path / CHECKPOINT if path.is_dir() else path
    passport = read_passport(path)
    try:
        load_checkpoint(path)
        fits = True
    except DataError:
        fits = False
    rows, sources = path.with_name(TRAINING_ROWS), {}
    problems = [] if fits else [f"{path}: the weights do not fit their passport"]
    try:
        table = pq.read_table(rows, partitioning=None)
        sources = dict(sorted(Counter(table.column("source").to_pylist()).items()))
        if rows_digest(table) != passport.training_rows_digest:
            problems.append(f"{rows}: its rows are not those that the passport names")
    except Exception as error:  # damaged bytes fail in the reader in any way
        problems.append(f"{rows}: not readable: {first_line(error)}")
    training = [{"source": source, "rows": count} for source, count in sources.items()]
    return {"model": str(path), "problems": problems, "training": training, **_from_passport(passport)}


def audit_model(lookup: Lookup, text: str, *, behind: bool = True) -> Answer:
    """A model by name, version, alias or digest: from the ledger alone.

    Args:
        lookup: the ledger.
        text: what names it.
        behind: whether the scores of the rows that it learnt from are wanted beside its own.

    Raises:
        MissingError: there is no such model.
    """
    model = lookup.model(text)
    training = [
        {k: (round(v, 4) if isinstance(v, float) else v) for k, v in row.items() if v is not None}
        for row in lookup.training_summary(model.digest)
    ]
    return {
        "model": model.label,
        "aliases": sorted(name for name, digest in lookup.aliases().items() if digest == model.digest),
        "withdrawn_images": lookup.withdrawn_models().get(model.digest, []),
        "made": model.time.isoformat(),
        "run": model.run,
        "problems": _short(model, sum(int(row["rows"]) for row in training)),
        "training": training,
        "scores": {name: round(s.value, 4) for name, s in scores_of(lookup, model, behind=behind).items()},
        "level": level_of(lookup, model) or UNKNOWN,
        **_from_passport(model.passport),
        "parents": chain(lookup, model),
    }


def rows_of_model(lookup: Lookup, text: str) -> list[Answer]:
    """Each row that a model learnt from, by image: from the ledger alone. Raises MissingError as `audit_model`."""
    return _row_list(lookup.training(lookup.model(text).digest))


def rows_of_file(path: Path) -> list[Answer]:
    """Each row that a checkpoint learnt from, by image; none where they are not readable, which `audit_file` says."""
    rows = (path if path.is_dir() else path.parent) / TRAINING_ROWS
    try:
        return _row_list(pq.read_table(rows, partitioning=None))
    except Exception:  # damaged bytes fail in the reader in any way
        return []


def _row_list(table: pa.Table) -> list[Answer]:
    def plain(value: Any) -> Any:
        return value.hex() if isinstance(value, bytes) else value

    rows = table.select(["image_id", "digest", "source"]).sort_by("image_id").to_pylist()
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def _short(model: Model, rows: int) -> list[str]:
    if rows == model.passport.training_rows:
        return []
    return [f"the ledger holds {rows} training rows, the passport names {model.passport.training_rows}"]


def _from_passport(passport: Passport) -> Answer:
    return {
        "stage": passport.stage,
        "weights": passport.weights_digest,
        "classes": passport.classes,
        "supervision": passport.supervision,
        "allowed_supervision": passport.allowed_supervision,
        "training_rows": passport.training_rows,
        "training_rows_digest": passport.training_rows_digest,
        "git_commit": passport.git_commit,
        "git_dirty": passport.git_dirty,
        "code": passport.code_digest,
        "params_digest": passport.params_digest,
        "seed": passport.seed,
        "device": passport.device,
        "libraries": passport.libraries,
        "parents": [{"name": name, "weights": digest} for name, digest in passport.parents.items()],
        "metrics": passport.metrics,
        "measured_on": passport.measured_on,
        "architecture": passport.architecture,
        "params": passport.params,
    }


def chain(lookup: Lookup, model: Model) -> list[Answer]:
    """The checkpoints that a model started or learnt from, each with its own."""
    parents = []
    for name, parent in lookup.parents(model).items():
        weights = model.passport.parents[name]
        entry: Answer = {"name": name, "weights": weights, "model": parent.label if parent else "not in the ledger"}
        parents.append({**entry, "parents": chain(lookup, parent) if parent else []})
    return parents
