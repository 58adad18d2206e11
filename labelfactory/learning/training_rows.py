"""The list of rows beside a checkpoint, and every photograph that its weights have seen.

training_rows.parquet, one row per image that was learnt from:
    image_id, digest, source   of the row, as the stage names them
    photograph                 string: SHA-256 of the photograph's file; null where it is not known
Schema metadata `labelfactory` (JSON): `parents_saw`, the pairs of image_id and photograph that the networks behind this one have
    seen and its own rows do not name; null where that is not known; and, where the rows are true masks, `values`, the class id of
    each value in them. A file of an earlier version has none of these.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.prepared import Dataset
from labelfactory.digests import digest_rows
from labelfactory.errors import UserError
from labelfactory.files import write_whole
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, read_passport

SCHEMA = pa.schema([(name, pa.string()) for name in ("image_id", "digest", "source", "photograph")])
META = b"labelfactory"
PARENTS_SAW, VALUES = "parents_saw", "values"
Seen = frozenset[tuple[str, str]]
"""Id and SHA-256 of photographs."""


def write_training_rows(
    folder: Path,
    rows: Mapping[str, str],
    sources: Mapping[str, str],
    photographs: Mapping[str, str],
    parents: Iterable[Path],
    values: Mapping[str, int] | None = None,
) -> None:
    """Write the list beside a checkpoint. The same rows and parents give the same bytes.

    Args:
        folder: of the checkpoint.
        rows: image_id → digest of the row.
        sources: image_id → where its label comes from.
        photographs: image_id → SHA-256 of its photograph.
        parents: folders of the networks that it was built on.
        values: value in a true mask → class id, if the rows are true masks.
    """
    ids = sorted(rows)
    columns = ([row_of[i] for i in ids] for row_of in (rows, sources))
    table = pa.table([ids, *columns, [photographs.get(i) for i in ids]], schema=SCHEMA)
    behind = [seen_by(parent) for parent in parents]
    own = {(i, photographs.get(i)) for i in ids}
    known = [saw for saw in behind if saw is not None]
    more = sorted(frozenset().union(*known) - own) if len(known) == len(behind) else None
    about = {PARENTS_SAW: more} | ({} if values is None else {VALUES: values})
    table = table.replace_schema_metadata({META: json.dumps(about)})
    with write_whole(folder / TRAINING_ROWS) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def seen_by(folder: Path) -> Seen | None:
    """Every photograph that the weights of a checkpoint have seen, those of the networks behind it included.

    None where the files do not tell: they are of an earlier version, damaged, or those of two trainings.
    """
    try:
        stated = read_passport(folder / CHECKPOINT).training_rows_digest
        table = pq.read_table(folder / TRAINING_ROWS, partitioning=None)
        meta = json.loads((table.schema.metadata or {})[META])
        ids, digests, photographs = (table.column(n).to_pylist() for n in ("image_id", "digest", "photograph"))
        if None in photographs or digest_rows(zip(ids, digests, strict=True)) != stated:
            return None
        return frozenset([*zip(ids, photographs, strict=True), *((i, sha256) for i, sha256 in meta[PARENTS_SAW])])
    except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException):
        return None


def not_new(folder: Path, dataset: Dataset) -> frozenset[str]:
    """Images that are not on the training list, and that a network has seen all the same, when they were: no score may count them.

    Of a network of an earlier version it is not known what it has seen: it gives none.
    """
    seen = {sha256 for _, sha256 in seen_by(folder) or ()}
    others = (record for record in dataset.records if dataset.train_list not in record.lists)
    return frozenset(record.image_id for record in others if record.sha256 in seen)


def photographs_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each photograph that a network itself learnt from, by id, as far as the list beside it tells."""
    try:
        table = pq.read_table(folder / TRAINING_ROWS, columns=["image_id", "photograph"], partitioning=None)
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return {}
    if "photograph" not in table.column_names:
        return {}
    pairs = zip(*(table.column(name).to_pylist() for name in ("image_id", "photograph")), strict=True)
    return {image_id: sha256 for image_id, sha256 in pairs if sha256 is not None}


def values_of(folder: Path) -> dict[str, int] | None:
    """The class of each value in the true masks that a network learnt from; None where the list beside it does not tell."""
    try:
        meta = json.loads((pq.read_schema(folder / TRAINING_ROWS).metadata or {})[META])
        return dict(meta[VALUES])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, pa.ArrowException):
        return None
