"""One edited mask, before it is read: where it is, which image it names, and how its pixels are got."""

from collections.abc import Callable
from dataclasses import dataclass

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.schema import Mask

Load = Callable[[ImageRecord], tuple[Mask, int]]
"""Gives [H, W] uint8 of class ids and void, and the number of pixels that were not exact. Raises DataError."""


@dataclass(frozen=True)
class EditedMask:
    """One mask of a folder or file."""

    where: str  # for a message
    names: tuple[str, ...]  # what may name its image, the surest first
    load: Load
    has_void: bool = True  # whether its format can say void
    has_specks: bool = True  # whether our exports of its format hold them
