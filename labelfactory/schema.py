"""Class numbers, the void label, and the one place where CAM channels become class ids.

A mask is [H, W] uint8: 0 is the background, 1..C are the classes in the order of the data set, 255 is void.
A CAM or a score array holds channels for the classes of one image only; ``class_ids[k]`` is the class of channel k.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import DataError, ShapeError, did_you_mean

BACKGROUND = 0
VOID = 255
MAX_CLASSES = 254

FloatArray = NDArray[np.floating]
Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class Classes:
    """The foreground classes of a data set, in order. Class id = position + 1."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DataError("the data set has no class", "Import it again with --classes a,b,c.")
        if len(self.names) > MAX_CLASSES:
            raise DataError(f"{len(self.names)} classes, but a mask of bytes holds at most {MAX_CLASSES}")
        if len(set(self.names)) != len(self.names):
            raise DataError("a class name appears twice", "Name each class once in --classes.")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def with_background(self) -> tuple[str, ...]:
        """Names by class id: ``with_background[0]`` is the background."""
        return ("background", *self.names)

    def ids(self, tags: Iterable[str]) -> NDArray[np.uint8]:
        """Class ids of an image's tags, ascending, uint8 [K].

        Raises:
            DataError: a tag is not a class of the data set.
        """
        wanted = set(tags)
        for tag in sorted(wanted - set(self.names)):
            raise DataError(
                f"tag {tag!r} is not a class{did_you_mean(tag, self.names)}", "Mend the tag or add the class."
            )
        return np.array([i + 1 for i, name in enumerate(self.names) if name in wanted], dtype=np.uint8)

    def multi_hot(self, tags: Iterable[str]) -> NDArray[np.float32]:
        """float32 [C] of 0 and 1: position k says whether class id k + 1 is tagged."""
        target = np.zeros(len(self.names), dtype=np.float32)
        target[self.ids(tags).astype(int) - 1] = 1.0
        return target


def labels_from_channels(channels: NDArray[np.integer], class_ids: Sequence[int] | NDArray[np.uint8]) -> Mask:
    """Turn channel numbers (0 background, k + 1 for ``class_ids[k]``) into class ids.

    Args:
        channels: [H, W] integers in 0..K.
        class_ids: [K] ids of the foreground channels.

    Returns:
        [H, W] uint8 mask of class ids.

    Raises:
        ShapeError: there is no such channel.
    """
    table = np.concatenate([[BACKGROUND], np.asarray(class_ids, dtype=np.uint8)]).astype(np.uint8)
    if channels.size and not 0 <= int(channels.min()) <= int(channels.max()) < len(table):
        raise ShapeError(
            f"channels {int(channels.min())} to {int(channels.max())} of an array of {len(table)} channels"
        )
    labels: Mask = table[channels]
    return labels


@cache
def palette() -> NDArray[np.uint8]:
    """VOC's colour map, [256, 3] uint8, read-only: colour of each class id; 255 is (224, 224, 192).

    Source: the VOC development kit's VOClabelcolormap (bits of the id spread over the three channels).
    """
    colours = np.zeros((256, 3), dtype=np.uint8)
    for label in range(256):
        bits = label
        for shift in range(7, -1, -1):
            colours[label] |= np.array([(bits >> c & 1) << shift for c in range(3)], dtype=np.uint8)
            bits >>= 3
    colours.flags.writeable = False  # shared by all callers
    return colours
