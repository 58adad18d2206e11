"""Expected IoUs brought to the level of some audited images.

What is expected of a class in an image is right in its order and off in its level, by class too. A few true IoUs tell by how much:

    IoU = e + a + b (logit e − m) + d_class        e expected, m the mean logit of the audited ones

by least squares of IoU − e, with a penalty on b and d (ridge), so that without evidence e stays as it is. What is not expected at
all stays 0. Images fall into folds by their photographs; an image's IoU is computed from the audits of the other folds, so that
it never depends on its own truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]

FOLDS = 5
PENALTY = 5.0
"""On slope and classes: as if that many more classes in images had been audited and found as expected."""
CERTAIN = 0.01
"""Expected IoUs are kept so far from 0 and 1 before the logit is taken."""


@dataclass(frozen=True)
class Line:
    """What one fold's images are moved by.

    Attributes:
        level: a.
        slope: b.
        middle: m.
        classes: [C] d; 0 of a class that was not audited.
    """

    level: float
    slope: float
    middle: float
    classes: tuple[float, ...]

    def moved(self, expected: Numbers, class_ids: Labels) -> Numbers:
        """The IoUs, [N] in [0, 1], of expected ones, [N], of these classes, [N]."""
        by_class = np.asarray(self.classes)[class_ids]
        moved = expected + self.level + self.slope * (_logit(expected) - self.middle) + by_class
        return np.where(expected > 0, moved.clip(0, 1), 0.0)


def fold_of(photograph: str) -> int:
    """The fold of an image, from the SHA-256 of its photograph."""
    return int(photograph[:8], 16) % FOLDS


def refit(expected: Numbers, truth: Numbers, class_ids: Labels, folds: Labels, n_classes: int) -> tuple[Line, ...]:
    """A line for each fold, from the audited images of all others.

    Args:
        expected: [N] expected IoUs in [0, 1], one for each audited image and class.
        truth: [N] the true ones.
        class_ids: [N] in [0, n_classes).
        folds: [N] in [0, `FOLDS`), of the image.
        n_classes: the background included.

    Raises:
        ShapeError: the sizes differ.
    """
    if not len(expected) == len(truth) == len(class_ids) == len(folds):
        raise ShapeError(
            f"{len(expected)} expected IoUs, {len(truth)} true ones, {len(class_ids)} classes, {len(folds)} folds"
        )
    others = [folds != fold for fold in range(FOLDS)]
    return tuple(_line(expected[other], truth[other], class_ids[other], n_classes) for other in others)


def _line(expected: Numbers, truth: Numbers, class_ids: Labels, n_classes: int) -> Line:
    if not len(expected):
        return Line(0.0, 0.0, 0.0, (0.0,) * n_classes)
    logit = _logit(expected)
    middle = float(logit.mean())
    one_hot = (class_ids[:, None] == np.arange(n_classes)).astype(np.float64)
    known = np.column_stack([np.ones(len(expected)), logit - middle, one_hot])
    penalty = np.diag([1e-6, *[PENALTY] * (1 + n_classes)])
    level, slope, *classes = np.linalg.solve(known.T @ known + penalty, known.T @ (truth - expected)).tolist()
    return Line(level, slope, middle, tuple(classes))


def _logit(share: Numbers) -> Numbers:
    inside = share.clip(CERTAIN, 1 - CERTAIN)
    odds: Numbers = np.log(inside / (1 - inside))
    return odds


def moved(lines: Sequence[Line], expected: Numbers, class_ids: Labels, folds: Labels) -> Numbers:
    """The IoUs of expected ones, [N], each by the line of its image's fold."""
    found = np.empty(len(expected))
    for fold, line in enumerate(lines):
        inside = folds == fold
        found[inside] = line.moved(expected[inside], class_ids[inside])
    return found
