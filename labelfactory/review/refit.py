"""The expected IoUs of single masks, brought to the level of the audited ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.level_record import Refit, RefitLine
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.level.interval import FEWEST
from labelfactory.level.ratio import Areas
from labelfactory.level.refit import Line, fold_of, moved, refit

DRAWN = 1.0
"""Quality of a mask that a person drew: there is nothing to expect."""


def refit_of(
    records: Sequence[ImageRecord],
    expected: Areas,
    truth: Areas,
    quality: NDArray[np.float64],
    dataset: Dataset,
) -> Refit | None:
    """What brings expected IoUs to the level of audited images; None where too few are.

    Args:
        records: the audited images.
        expected: of their masks with the truth; zeros where nothing is expected.
        truth: as they are.
        quality: [N] of the masks; NaN where nothing is expected.
        dataset: of the classes.
    """
    usable = np.isfinite(quality) & (quality > 0) & (quality < DRAWN)
    counted = (expected.intersection > 0) & (truth.union > 0) & usable[:, None]
    owner, class_ids = np.nonzero(counted)
    images = np.unique(owner)
    if len(images) < FEWEST:
        return None
    folds = np.array([fold_of(record.sha256) for record in records], dtype=np.int64)[owner]
    iou = expected.intersection[counted] / expected.union[counted]
    true = truth.intersection[counted] / truth.union[counted]
    lines = refit(iou, true, class_ids, folds, len(dataset.classes) + 1)
    after = moved(lines, iou, class_ids, folds)
    return Refit(
        images=len(images),
        error=_error(after, true, owner),
        error_without=_error(iou, true, owner),
        lines=tuple(_named(line, dataset.classes.with_background) for line in lines),
    )


def _error(found: NDArray[np.float64], true: NDArray[np.float64], owner: NDArray[np.int64]) -> float:
    """Mean over the images of the error of their mean IoU."""
    count = np.bincount(owner)
    error = np.abs(np.bincount(owner, found - true)[count > 0] / count[count > 0])
    return round(float(error.mean()), 4)


def _named(line: Line, names: Sequence[str]) -> RefitLine:
    offsets = {name: round(value, 6) for name, value in zip(names, line.classes, strict=True)}
    return RefitLine(
        level=round(line.level, 6), slope=round(line.slope, 6), middle=round(line.middle, 6), classes=offsets
    )
