"""Intersection and union of masks and predictions with the truth, image by image: as they are expected, and as they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.level.ratio import Areas
from labelfactory.level.strata import Numbers
from labelfactory.metrics import Confusion
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.schema import VOID, Mask
from labelfactory.settings.wiring import DATA, read_wiring

QUALITY = DATA / "quality"
"""Rows of what is expected of each image."""
MASKS, MODEL = "masks", "model"
COLUMNS = {MASKS: ("intersection", "union"), MODEL: ("model_intersection", "model_union")}
"""Columns of these rows: shares of the image's pixels, by class."""


@dataclass(frozen=True)
class Expected:
    """What is expected of some images.

    Attributes:
        areas: of `MASKS` and `MODEL`, in pixels; zeros where nothing is expected.
        quality: [N] expected mIoU of the mask in [0, 1]; NaN where nothing is expected.
    """

    areas: dict[str, Areas]
    quality: Numbers

    @property
    def known(self) -> int:
        """Images of which something is expected."""
        return int(np.isfinite(self.quality).sum())


def expected_areas(records: Sequence[ImageRecord], dataset: Dataset) -> Expected:
    """What the rows of quality say of some images, as far as they are of the masks on disk.

    Raises:
        DataError: a shard is damaged.
    """
    n, n_classes = len(records), len(dataset.classes) + 1
    arrays = {name: np.zeros((2, n, n_classes)) for name in COLUMNS}
    quality = np.full(n, np.nan)
    if QUALITY.is_dir():
        rows = RowReader(QUALITY, dataset)
        values = {name: rows.values(name) for name in ("quality", "class_ids", *sum(COLUMNS.values(), ()))}
        noun = read_wiring().masks.noun
        states, rated = RowReader(DATA / noun, dataset).states, RatedRows(noun, dataset)
        for place, record in enumerate(records):
            state = states.get(record.image_id)
            if record.image_id not in rows or state is None or rated.quality(record.image_id, state.digest) is None:
                continue
            pixels, ids = record.width * record.height, values["class_ids"][record.image_id]
            quality[place] = values["quality"][record.image_id]
            for name, columns in COLUMNS.items():
                for side, column in enumerate(columns):
                    arrays[name][side, place, ids] = values[column][record.image_id] * pixels
    return Expected({name: Areas(*sides) for name, sides in arrays.items()}, quality)


def areas_of(truth: Mask, mask: Mask, n_classes: int) -> NDArray[np.float64]:
    """Intersection and union of one mask with the truth, [2, n_classes] pixels; void as in `labelfactory.metrics`."""
    confusion = Confusion(n_classes)
    confusion.add(truth, mask)
    hits = np.diag(confusion.counts)
    union = confusion.counts.sum(axis=0) + confusion.counts.sum(axis=1) + confusion.undecided - hits
    return np.stack([hits, union]).astype(np.float64)


def point_areas(truth: Mask, mask: Mask, pixels: int, n_classes: int) -> NDArray[np.float64]:
    """The same at P random pixels, each with its share of the image: [P, 2, n_classes] whose mean is that of `areas_of`.

    Args:
        truth: [P] uint8, the true class at each.
        mask: [P] uint8, the mask's class there.
        pixels: of the image.
        n_classes: the background included.
    """
    ids = np.arange(n_classes)
    known = (truth != VOID)[:, None]
    is_true, is_masked = (truth[:, None] == ids) & known, (mask[:, None] == ids) & known
    return np.stack([is_true & is_masked, is_true | is_masked], axis=1) * float(pixels)
