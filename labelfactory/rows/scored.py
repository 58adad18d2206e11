"""The pixels of single images by true and predicted class, as `evaluate` keeps them, and their areas by class."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfactory.level.ratio import Areas
from labelfactory.schema import VOID
from labelfactory.settings.wiring import DATA

SCORED_IMAGES = DATA / "evaluation" / "images.parquet"
LISTS = "lists"
"""The column of the scored lists that an image is on."""
PIXELS_TYPE = pa.list_(pa.struct([("truth", pa.uint8()), ("predicted", pa.uint8()), ("pixels", pa.uint32())]))


def pixels_column(name: str) -> str:
    """The name of the column of the pixels of a score, such as masks."""
    return f"{name}_pixels"


def cells_to_value(cells: NDArray[np.uint32]) -> list[dict[str, int]]:
    """What `Confusion.cells` gives, as a value of that column."""
    return [{"truth": truth, "predicted": predicted, "pixels": pixels} for truth, predicted, pixels in cells.tolist()]


def areas_of(column: pa.ChunkedArray, n_classes: int) -> Areas:
    """Intersection and union of each image and class, [images, classes] float64.

    Args:
        column: of PIXELS_TYPE, without nulls.
        n_classes: with the background.

    Raises:
        IndexError: a class is not one of these.
    """
    owner = pc.list_parent_indices(column).to_numpy()
    cells: Any = pc.list_flatten(column).combine_chunks()
    truth, predicted, pixels = (
        cells.field(name).to_numpy(zero_copy_only=False) for name in ("truth", "predicted", "pixels")
    )
    hits, union = np.zeros((2, len(column), n_classes))
    right, decided = truth == predicted, predicted != VOID
    np.add.at(hits, (owner[right], truth[right]), pixels[right])
    np.add.at(union, (owner, truth), pixels)
    wrong = decided & ~right
    np.add.at(union, (owner[wrong], predicted[wrong]), pixels[wrong])
    return Areas(hits, union)
