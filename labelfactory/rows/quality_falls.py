"""Whether the quality of masks fell from one run to the next by more than its noise: at night nobody looks at the pictures."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

LEAST_IMAGES = 10
"""Of fewer images nothing is said."""
LEAST_FALL = 0.03
"""A smaller fall is none: another seed moves the mean as much."""
ERRORS = 3.0
"""Standard errors that a fall exceeds."""
ALL = "all masks"


@dataclass(frozen=True)
class Spread:
    """Qualities of some masks: how many, mean, standard deviation."""

    count: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """That of at least one value."""
        array = np.fromiter(values, dtype=np.float64)
        return cls(len(array), round(float(array.mean()), 6), round(float(array.std()), 6))

    def falls_from(self, before: "Spread") -> bool:
        """Whether the mean is below another by more than chance explains."""
        if min(self.count, before.count) < LEAST_IMAGES:
            return False
        error = np.hypot(self.deviation / np.sqrt(self.count), before.deviation / np.sqrt(before.count))
        return bool(before.mean - self.mean > max(LEAST_FALL, ERRORS * error))


def spreads(qualities: Mapping[str, float], by_class: Mapping[str, Mapping[str, float]]) -> dict[str, Spread]:
    """The qualities of all masks, and the expected IoU of each class.

    Args:
        qualities: image id → quality.
        by_class: class → image id → expected IoU, of images with the tag.

    Returns:
        By ALL and the classes; without those that have no image.
    """
    groups = {ALL: qualities, **by_class}
    return {name: Spread.of(values.values()) for name, values in groups.items() if values}


def falls(before: Mapping[str, Spread], after: Mapping[str, Spread]) -> list[str]:
    """A sentence for each name whose mean fell."""
    return [
        f"The quality of {name if name == ALL else f'the masks of {name}'} fell from {100 * before[name].mean:.1f} "
        f"to {100 * now.mean:.1f}."
        for name, now in after.items()
        if name in before and now.falls_from(before[name])
    ]


def new_ones(known: Spread, new: Spread) -> list[str]:
    """A sentence if new images have masks of less quality than those that were there."""
    if not new.falls_from(known):
        return []
    return [
        f"{new.count} new images have masks of a quality of {100 * new.mean:.1f} in the mean, those of before "
        f"{100 * known.mean:.1f}: they may be of another kind."
    ]
