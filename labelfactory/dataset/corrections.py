"""Masks that a person corrected; they replace the line's masks of their images.

data/corrections/corrections.parquet, one row per corrected image, by image_id:
    image_id    string, unique, as in the import
    photograph  string, SHA-256 of the photograph's file at that time
    mask        string, SHA-256 of the PNG beside this table
    classes     list<string>, names of class ids 1, 2, … in that PNG
data/corrections/<name>.<mask's first digits>.png: palette PNG of class ids, 255 void, upright, at the photograph's size; the
name is `labelfactory.names.file_name(image_id)`. A new mask is a new file, so the table never names a partial one.

An input, like data/import: the line reads it and never writes it. If a photograph was imported with other bytes since
then, its row is not used.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tables import check_columns, read_columns, write_table
from labelfactory.digests import digest_bytes, digest_json
from labelfactory.errors import DataError
from labelfactory.files import write_whole
from labelfactory.foreign_files import FileRefusedError, check_path, read_file
from labelfactory.names import file_name
from labelfactory.schema import BACKGROUND, VOID, Classes, Mask

CORRECTIONS = Path("data/corrections")
TABLE = "corrections.parquet"
HUMAN = "human"
"""Source of a corrected mask in rows, ledger and audits."""
RESTORE = "Restore it from a backup: it lists the corrected masks."
REMEDY = "Add the correction again with `labelfactory corrections add`, or `labelfactory corrections remove` it."

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("photograph", pa.string(), nullable=False),
        pa.field("mask", pa.string(), nullable=False),
        pa.field("classes", pa.list_(pa.string()), nullable=False),
    ]
)


@dataclass(frozen=True)
class Correction:
    """One corrected image; fields as in the module's table."""

    image_id: str
    photograph: str
    mask: str
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Over the mask's file and the names of its class ids."""
        return digest_json([self.mask, list(self.classes)])

    def fits(self, record: ImageRecord) -> bool:
        """Whether it belongs to the photograph's current bytes."""
        return self.photograph == record.sha256

    def path(self, folder: Path = CORRECTIONS) -> Path:
        """The file of its mask."""
        return folder / f"{file_name(self.image_id)}.{self.mask[:16]}.png"


def read_corrections(folder: Path = CORRECTIONS) -> dict[str, Correction]:
    """All corrections by image id; empty if there is no table.

    Raises:
        DataError: the table is damaged.
    """
    path = folder / TABLE
    return {each.image_id: each for each in corrections_in(path)} if path.exists() else {}


def corrections_in(path: Path) -> list[Correction]:
    """The rows of a table of corrections, wherever it lies. Raises DataError as `read_corrections`."""
    table, _ = read_columns(path, None, remedy=RESTORE)
    rows = check_columns(path, table, SCHEMA, remedy=RESTORE).to_pylist()
    corrections = [Correction(**{**row, "classes": tuple(row["classes"])}) for row in rows]
    for correction in corrections:
        if not re.fullmatch("[0-9a-f]{64}", correction.mask):  # a part of the name of its file
            raise DataError(f"{path}: {correction.image_id}: {correction.mask[:80]!r} is not a SHA-256", RESTORE)
    return corrections


def write_corrections(corrections: Iterable[Correction], folder: Path = CORRECTIONS) -> None:
    """Write the table atomically. The same corrections give the same bytes."""
    ordered = sorted(corrections, key=lambda correction: correction.image_id)
    write_table(folder / TABLE, ordered, SCHEMA, {"format": 1})


def store_mask(image_id: str, photograph: str, mask: Mask, classes: Classes, folder: Path = CORRECTIONS) -> Correction:
    """Write the PNG of a correction atomically; the caller adds it to the table.

    Args:
        image_id: of the import.
        photograph: SHA-256 of its file.
        mask: [H, W] uint8 of class ids, 255 void, upright.
        classes: of the ids.
        folder: of the corrections.
    """
    data = encode_mask(mask)
    correction = Correction(image_id, photograph, digest_bytes(data), classes.names)
    folder.mkdir(parents=True, exist_ok=True)
    with write_whole(correction.path(folder)) as temporary:
        temporary.write_bytes(data)
    return correction


def corrected_mask(correction: Correction, classes: Classes, folder: Path = CORRECTIONS) -> Mask:
    """The mask of a correction in the ids of `classes`, [H, W] uint8; pixels of a removed class are void.

    Raises:
        DataError: its file is missing or has changed.
    """
    path = correction.path(folder)
    try:
        data = read_file(check_path(path, "read", within=folder))
    except FileRefusedError as error:
        raise DataError(error.problem, REMEDY) from None
    if digest_bytes(data) != correction.mask:
        raise DataError(f"{path}: changed since it was added", REMEDY)
    values = decode_mask(data)
    if correction.classes == classes.names:
        return values
    table = np.full(256, VOID, dtype=np.uint8)
    table[BACKGROUND] = BACKGROUND
    for old, name in enumerate(correction.classes, 1):
        if name in classes.names:
            table[old] = classes.names.index(name) + 1
    moved: Mask = table[values]
    return moved
