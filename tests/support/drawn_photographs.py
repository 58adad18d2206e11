"""Eight small photographs of coloured squares with their tags: a training set that a network learns in moments."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from labelfactory.learning.examples import CropSection, TagExamples
from labelfactory.learning.learner import Batch
from labelfactory.schema import Classes

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220)}
CLASSES = Classes(tuple(COLOURS))
TAGS = (("red",), ("green",), ("blue",), ("red", "green"), ("green", "blue"), ("red", "blue"), (), ("red",))
"""Of the photographs: one without tags, some with two, every class in several."""
VIEW = CropSection(crop=33, long_side_min=40, long_side_max=52, colour_jitter=0.1)
BATCH = 4
LONG_SIDE = 49
"""Of a photograph that is looked at whole, pixels."""
STEPS = len(TAGS) // BATCH
"""Of an epoch."""


@dataclass(frozen=True)
class Drawing:
    """A photograph of coloured squares, one a tag, on grey noise."""

    image_id: str
    tags: tuple[str, ...]
    seed: int
    shape: NDArray[np.uint8] = field(init=False, compare=False)  # [H, W], 255 in the squares
    pixels: NDArray[np.uint8] = field(init=False, compare=False)  # [H, W, 3]

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        pixels = rng.integers(90, 140, (40, 48, 3), dtype=np.uint8)
        shape = np.zeros((40, 48), np.uint8)
        for place, tag in enumerate(self.tags):
            top, left = 8 + int(rng.integers(0, 8)), 4 + 22 * place + int(rng.integers(0, 4))
            window = np.s_[top : top + 18, left : left + 18]
            pixels[window], shape[window] = COLOURS[tag], 255
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "shape", shape)

    def photograph(self) -> NDArray[np.uint8]:
        """[H, W, 3] uint8."""
        return self.pixels


def shape_of(record: Drawing) -> NDArray[np.uint8]:
    """What a prior would say: where the squares are."""
    return record.shape


class Drawings(TagExamples):
    """The photographs, with a map for each kind of rows that an objective reads.

    Args:
        reads: of the objective.
        killed_after: examples after which the training is killed.
    """

    def __init__(self, reads: tuple[str, ...] = (), killed_after: int | None = None) -> None:
        records: Any = [Drawing(f"image-{k}", tags, k) for k, tags in enumerate(TAGS)]
        super().__init__(records, CLASSES, VIEW, dict.fromkeys(reads, shape_of))
        self.left = killed_after

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One random view, unless the training is to be killed now."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().get(index, rng)


def views(indices: list[int], reads: tuple[str, ...] = (), *, seed: int = 0) -> Batch:
    """A batch of random views of these photographs."""
    examples = Drawings(reads)
    return default_collate([examples.get(k, np.random.default_rng([seed, k])) for k in indices])
