"""Our masks of a photograph, with which an edited one is compared: the one that holds, and those that hold no longer."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from labelfactory.dataset.corrections import Correction, corrected_mask
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.rows.pairing import renumbered
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask

MASKS = Path("data/masks")


class OurMasks:
    """The masks that edited ones are compared with.

    Args:
        dataset: of the images.
        known: corrections by image id, as they are before the command.
        take_removed: a correction that was removed, and is in the row on disk until the next run, may come back.
    """

    def __init__(self, dataset: Dataset, known: Mapping[str, Correction], *, take_removed: bool) -> None:
        self._classes, self._known, self._rows = dataset.classes, dict(known), RowReader(MASKS, dataset)
        self._take_removed = take_removed

    def current(self, record: ImageRecord) -> Mask | None:
        """The mask that holds: a correction of this photograph, else the line's, [H, W] uint8 in the classes of the data set."""
        correction = self._known.get(record.image_id)
        if correction is not None and correction.fits(record):
            return corrected_mask(correction, self._classes)
        return self._of_line(record) if self._holds(record) else None

    def outdated(self, record: ImageRecord) -> Iterator[Mask]:
        """The line's mask where it does not hold: corrected since, of a correction that was removed, of an earlier photograph."""
        correction = self._known.get(record.image_id)
        if self._take_removed and correction is None and self._is_removed(record):
            return
        if (correction is not None and correction.fits(record)) or not self._holds(record):
            mask = self._of_line(record)
            if mask is not None:
                yield mask

    def is_replaced(self, record: ImageRecord, mask: Mask) -> bool:
        """Whether a mask takes the place of a correction that a person drew, and is another."""
        correction = self._known.get(record.image_id)
        if correction is None:
            return False
        return not (correction.fits(record) and np.array_equal(corrected_mask(correction, self._classes), mask))

    def _holds(self, record: ImageRecord) -> bool:
        made = self._rows.made_of.get(record.image_id)
        return made is not None and made.photograph == record.sha256 and not made.correction

    def _is_removed(self, record: ImageRecord) -> bool:
        """Whether the row on disk is what a person drew over this photograph."""
        made = self._rows.made_of.get(record.image_id)
        return made is not None and made.photograph == record.sha256 and bool(made.correction)

    def _of_line(self, record: ImageRecord) -> Mask | None:
        """The mask of the row on disk in the classes of the data set, whatever photograph it is of; None where there is none."""
        image_id = record.image_id
        if image_id in self._rows:
            mask: Mask = self._rows[image_id]["mask"]
            return mask
        if image_id not in self._rows.earlier:
            return None
        made = self._rows.made_of[image_id]
        return renumbered(self._rows.earlier_row(image_id)["mask"], made.classes or (), self._classes.names)
