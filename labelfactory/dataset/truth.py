"""True masks. Only `evaluate` and `train_upper_bound` may import this module; an import contract and a test check that."""

from pathlib import Path

import numpy as np

from labelfactory.dataset.images import decode_mask, fitted
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.foreign_files import read_imported
from labelfactory.schema import VOID, Mask


def has_truth(record: ImageRecord) -> bool:
    """Whether the photograph has a true mask whose file exists."""
    return record.mask_path is not None and Path(record.mask_path).exists()


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
