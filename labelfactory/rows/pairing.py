"""Whether a row belongs to what the data set has under its image id now: the same photograph and tags, under the same classes.

`prepare` is done hours before the last row is made anew, and a run may fail in between. Until then rows on disk are of the import
before: of another photograph under the same id, of other tags, or with numbers of classes that have other names by now. Each row
says in `inputs` what it was made of.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.schema import BACKGROUND, VOID, Mask

PHOTOGRAPH, TAGS, CLASSES = "photograph", "tags", "classes"
"""What of the data set may be another now than when a row was made."""
EARLIER = {PHOTOGRAPH: "an earlier photograph", TAGS: "earlier tags", CLASSES: "earlier classes"}
"""The same for a person."""


@dataclass(frozen=True)
class MadeOf:
    """What a row says that it was made of.

    Attributes:
        photograph: SHA-256 of the photograph's file; empty where the row does not say.
        classes: names of class ids 1, 2, …; None where the row does not depend on them.
        correction: digest of the correction that it is; empty for a row that its stage computed.
        tags: of the image; None where the row does not say.
    """

    photograph: str
    classes: tuple[str, ...] | None
    correction: str
    tags: tuple[str, ...] | None = None

    def differs(self, record: ImageRecord, classes: Sequence[str]) -> str:
        """PHOTOGRAPH, CLASSES or TAGS where that is another in the data set now; empty where the row belongs to the record."""
        if self.photograph != record.sha256:
            return PHOTOGRAPH
        if self.classes not in (None, tuple(classes)):
            return CLASSES
        return TAGS if self.tags not in (None, record.tags) else ""


def made_of(inputs: str) -> MadeOf:
    """What a row was made of, by its column `inputs`.

    Raises:
        ValueError: it is not readable.
    """
    try:
        stated = json.loads(inputs)
        classes, tags = (
            None if stated.get(name) is None else _shared(tuple(map(str, stated[name]))) for name in ("classes", "tags")
        )
        return MadeOf(str(stated.get("image", "")), classes, str(stated.get("correction", "")), tags)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ValueError("its inputs are not readable") from None


@lru_cache(maxsize=256)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """One tuple for all rows of the same classes or tags: there may be 10^5 rows of a hundred classes."""
    return names


def renumbered(mask: Mask, before: Sequence[str], now: Sequence[str]) -> Mask:
    """A mask [H, W] uint8 whose class ids were those of `before`, in the ids of `now`; pixels of a removed class are void."""
    if tuple(before) == tuple(now):
        return mask
    table = np.full(256, VOID, dtype=np.uint8)
    table[BACKGROUND] = BACKGROUND
    for class_id, name in enumerate(before, 1):
        if name in now:
            table[class_id] = list(now).index(name) + 1
    moved: Mask = table[mask]
    return moved


def of_earlier(what: str, count: int) -> str:
    """For a person: how many rows do not belong to the data set, and what to type.

    >>> of_earlier("mask", 3)
    '3 masks on disk belong to an earlier photograph, earlier tags or classes; `labelfactory run` makes them anew'
    """
    belong, them = (f"{what} on disk belongs", "it") if count == 1 else (f"{what}s on disk belong", "them")
    return f"{count} {belong} to an earlier photograph, earlier tags or classes; `labelfactory run` makes {them} anew"
