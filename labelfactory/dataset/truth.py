"""True masks. Only `evaluate` and `train_upper_bound` may import this module; an import contract and a test check that."""

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from labelfactory.dataset.images import decode_mask, fitted
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_PICTURE, FileRefusedError, check_path, check_regular, read_imported
from labelfactory.schema import VOID, Mask


def has_truth(record: ImageRecord) -> bool:
    """Whether the import names a true mask of the photograph, be its file there or not."""
    return record.mask_path is not None


def check_truth(records: Collection[ImageRecord], remedy: str) -> None:
    """Check, without opening any, that all true masks of some photographs can be read: a figure of fewer would pass for one of all.

    Args:
        records: photographs with a true mask.
        remedy: how to go on without the masks.

    Raises:
        DataError: names the first that cannot, and counts them.
    """
    problems = [problem for record in records if (problem := _problem(Path(str(record.mask_path))))]
    if problems:
        count = f"{len(problems)} of {len(records)} true masks that the import names cannot be read"
        raise DataError(f"{problems[0]}; {count}", f"Restore them, or mount their disk, and run again. {remedy}")


def _problem(path: Path) -> str:
    """Why a true mask cannot be read; empty if it can."""
    try:
        check_regular(check_path(path, "read"), largest=LARGEST_PICTURE)
    except FileRefusedError as error:
        return error.problem
    return "" if os.access(path, os.R_OK) else f"{path}: Permission denied"


def true_mask(record: ImageRecord, dataset: Dataset) -> Mask:
    """The true mask in the data set's class ids, over the upright photograph: see `fitted`.

    Returns:
        [height, width] uint8; pixel values that are not a class of the data set are void.

    Raises:
        DataError: missing, changed since the import, not of its photograph's size, or not a mask.
    """
    if record.mask_path is None:
        raise DataError(f"{record.image_id}: has no true mask")
    path = Path(record.mask_path)
    data = read_imported(path, record.mask_sha256 or "")
    try:
        values = decode_mask(data)
    except DataError as error:
        raise DataError(f"{path}: {error.problem}", "Replace the mask and import the images again.") from None
    try:
        values = fitted(values, (record.height, record.width), Path(record.path))
    except DataError as error:
        raise DataError(f"{path}: {error.problem}") from None
    table = np.full(256, VOID, dtype=np.uint8)
    for value, class_id in dataset.mask_ids.items():
        table[value] = class_id
    return table[values]
