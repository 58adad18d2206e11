"""What one set of masks gains over another on the same images: the difference of mIoU and IoU, with an interval.

IoU is that of all images together (`labelfactory.metrics`), so a mean over images says nothing of it. Each redraw takes as many
images as there are, with replacement, the same ones for both sides: what makes an image hard for both cancels out. The interval
lies between percentiles of the redraws' differences. It tells the chance of the images alone, not that of a training's seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.level.interval import CONFIDENCE, FEWEST
from labelfactory.level.ratio import Areas

Numbers = NDArray[np.float64]

REDRAWS, FEWEST_REDRAWS = 2000, 400
AT_MOST = 2 * 10**7
"""Images in all redraws together: of many images there are fewer redraws, which would take minutes."""
AT_ONCE = 64
"""Redraws that are computed together."""
BETTER, WORSE, UNTOLD = "better", "worse", "cannot be told"


@dataclass(frozen=True)
class Gain:
    """A difference of two fractions, the second less the first.

    Attributes:
        value: NaN where one of the two has none.
        low, high: of the interval of 95 %; NaN where fewer than 10 images bear on it.
    """

    value: float
    low: float
    high: float

    @property
    def is_nothing(self) -> bool:
        """Whether no redraw moves it from 0, as where both sides have the same masks."""
        return self.value == self.low == self.high == 0

    @property
    def in_points(self) -> str:
        """`+7.3 [6.6, 8.1] better`, without a word where it cannot be told, `–` where there is none."""
        return in_points(self.value, self.low, self.high, self.verdict)

    @property
    def verdict(self) -> str:
        """Whether the second is better: the whole interval lies on one side of 0."""
        if self.low > 0:
            return BETTER
        return WORSE if self.high < 0 else UNTOLD


def paired_gain(first: Areas, second: Areas, *, redraws: int = 0, seed: int = 0) -> tuple[Gain, tuple[Gain, ...]]:
    """The gain of the second masks over the first, in mIoU and in the IoU of each class.

    Args:
        first, second: of the same images and classes in the same order, [images, classes]; a union of 0 in both says that an image
            does not bear on a class.
        redraws: of the images; 0 for 2,000, or 400 and more where there are over 10,000 images.
        seed: of the redraws; the same gives the same interval.

    Raises:
        ShapeError: the two differ in shape.
    """
    return mean_paired_gain([(first, second)], redraws=redraws, seed=seed)


def mean_paired_gain(
    pairs: Sequence[tuple[Areas, Areas]], *, redraws: int = 0, seed: int = 0
) -> tuple[Gain, tuple[Gain, ...]]:
    """The same for the mean of several gains on the same images, as of trainings with several seeds; all take the same redraws.

    Raises:
        ShapeError: there is no pair, or two differ in shape.
    """
    shapes = {areas.union.shape for pair in pairs for areas in pair}
    if len(shapes) != 1:
        raise ShapeError(f"areas {sorted(shapes)} are not of the same images and classes")
    images, classes = shapes.pop()
    redraws = redraws or max(FEWEST_REDRAWS, min(REDRAWS, AT_MOST // max(images, 1)))
    every = [np.concatenate([a.intersection, a.union, b.intersection, b.union], axis=1) for a, b in pairs]
    value = np.mean([_differences(parts.sum(axis=0, keepdims=True), classes)[0] for parts in every], axis=0)
    rng, drawn = np.random.default_rng(seed), []
    for start in range(0, redraws if images else 0, AT_ONCE):
        times = np.stack(
            [
                np.bincount(rng.integers(images, size=images), minlength=images)
                for _ in range(start, min(start + AT_ONCE, redraws))
            ]
        )
        drawn.append(np.mean([_differences(times @ parts, classes) for parts in every], axis=0))
    bears = np.any([areas.union > 0 for pair in pairs for areas in pair], axis=0)
    bearing = np.r_[images, bears.sum(axis=0)]
    values = np.concatenate(drawn) if drawn else np.empty((0, classes + 1))
    gains = [
        Gain(float(value[k]), *_interval(values[:, k] if bearing[k] >= FEWEST else np.empty(0)))
        for k in range(classes + 1)
    ]
    return gains[0], tuple(gains[1:])


def in_points(value: float, low: float, high: float, verdict: str) -> str:
    """A gain in words, of fractions that may be rounded and of the verdict of what they were before."""
    if not np.isfinite(value):
        return "–"
    interval = f" [{100 * low:.1f}, {100 * high:.1f}]" if np.isfinite(low) else ""
    return f"{100 * value:+.1f}{interval}" + ("" if verdict == UNTOLD else f" {verdict}")


def miou_of(areas: Areas) -> float:
    """The mIoU of some images together, over the classes that occur; NaN where none does."""
    hits, union = (part.sum(axis=0, keepdims=True) for part in (areas.intersection, areas.union))
    return float(_mean(_ratio(hits, union))[0])


def _differences(sums: Numbers, classes: int) -> Numbers:
    """Sums of some redraws, [redraws, 4 × classes], as differences of mIoU and of each class's IoU, [redraws, 1 + classes]."""
    hits_before, before, hits_after, after = (sums[:, k * classes : (k + 1) * classes] for k in range(4))
    old, new = _ratio(hits_before, before), _ratio(hits_after, after)
    return np.column_stack([_mean(new) - _mean(old), new - old])


def _ratio(hits: Numbers, union: Numbers) -> Numbers:
    ratio: Numbers = np.divide(hits, union, out=np.full(hits.shape, np.nan), where=union > 0)
    return ratio


def _mean(iou: Numbers) -> Numbers:
    """The mean over classes that occur, NaN where none does."""
    known = np.isfinite(iou)
    mean: Numbers = _ratio(np.where(known, iou, 0).sum(axis=1), known.sum(axis=1).astype(float))
    return mean


def _interval(values: Numbers) -> tuple[float, float]:
    """The percentiles between which so many redraws lie; those in which the class does not occur do not count."""
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
