"""The files of a network, which belong together: on disk, where a killed training may have torn them apart, and in the store."""

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.digests import digest_rows
from labelfactory.errors import UserError
from labelfactory.learning.checkpoints import CHECKPOINT, CURVE, TRAINING_ROWS, Passport, read_passport
from labelfactory.learning.training_rows import seen_by
from labelfactory.store.outputs import keep_output
from labelfactory.store.refused import none_refused

FILES = (TRAINING_ROWS, CURVE, CHECKPOINT)
"""The checkpoint, by which the others are judged, last."""


def is_whole(folder: Path, passport: Passport) -> bool:
    """Whether rows and curve in a folder are those of the network with this passport, and not of a training that was killed."""
    try:
        rows = pq.read_table(folder / TRAINING_ROWS, columns=["image_id", "digest"]).to_pylist()
        with (folder / CURVE).open(newline="", encoding="utf-8") as stream:
            losses = [float(point["loss"]) for point in csv.DictReader(stream)]
    except (OSError, pa.ArrowException, csv.Error, KeyError, TypeError, ValueError):  # missing or damaged
        return False
    digest = digest_rows((row["image_id"], row["digest"]) for row in rows)
    return digest == passport.training_rows_digest and losses[-1:] == [passport.metrics.get("loss")]


def keep_network(noun: str, folder: Path) -> None:
    """Put a network into the store, unless it or one behind it has seen what was withdrawn, does not tell, or is not whole."""
    try:
        passport = read_passport(folder / CHECKPOINT)
    except UserError:  # there is none, or it is damaged
        return
    if is_whole(folder, passport) and none_refused(seen_by(folder)):
        keep_output(noun, passport.key, [folder / name for name in FILES])
