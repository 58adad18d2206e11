"""The mask that holds for each image: a person's correction, else the line's, made of this photograph under these classes."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelfactory.dataset.corrections import HUMAN, REMEDY, Correction, corrected_mask, read_corrections
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.digests import digest_payload
from labelfactory.errors import ChangedMeanwhileError, DataError
from labelfactory.rows.pairing import of_earlier
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask


@dataclass(frozen=True)
class HeldMask:
    """A mask and what is known of it."""

    mask: Mask  # [height, width] uint8 of class ids, 255 void, upright
    digest: str  # of its row; of the mask alone where no row has it yet
    quality: float | None  # in [0, 1]; None where it was not rated
    source: str
    is_row: bool  # whether it is the row on disk


class HeldMasks:
    """The masks of a data set.

    A correction that no run has taken up yet holds: its row on disk is still the mask that the person replaced. A row that is of
    an earlier photograph or of earlier classes, or a correction that was removed since, is no mask of the data set.

    Args:
        folder: of the line's masks.
        dataset: of the images.
        maker: the stage that makes them: the source of masks whose row names none.

    Raises:
        DataError: a shard or the table of the corrections is damaged.
    """

    def __init__(self, folder: Path, dataset: Dataset, *, maker: str) -> None:
        self._rows, self._maker, self._classes = RowReader(folder, dataset), maker, dataset.classes
        self._rated = RatedRows(folder.name, dataset)
        known = read_corrections()
        drawn = (record for record in dataset.usable if record.image_id in known)
        self._corrections = {r.image_id: c for r in drawn if (c := known[r.image_id]).fits(r) and self._applies(c, r)}

    def _applies(self, correction: Correction, record: ImageRecord) -> bool:
        """Whether a run takes it up, or has done so: only photographs of the training list have masks."""
        return record.split == "train" or self._is_row(correction)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._corrections or (image_id in self._rows and not self._rows.made_of[image_id].correction)

    def __getitem__(self, record: ImageRecord) -> HeldMask:
        """The mask of an image.

        Raises:
            DataError: it has none, or it is damaged.
            ChangedMeanwhileError: it was replaced meanwhile.
        """
        correction = self._corrections.get(record.image_id)
        if correction is not None and not self._is_row(correction):
            mask = self._corrected(correction, record)
            return HeldMask(mask, digest_payload({"mask": np.asarray(mask)}), 1.0, HUMAN, is_row=False)
        row, digest = self._rows[record.image_id], self._rows.states[record.image_id].digest
        source = row.get("source", self._maker)
        quality = 1.0 if source == HUMAN else self._rated.quality(record.image_id, digest)
        return HeldMask(row["mask"], digest, quality, source, is_row=True)

    def notes(self, image_ids: Collection[str]) -> list[str]:
        """For a person: how many of these images have a row that is no mask of theirs, and what makes one."""
        earlier = sum(i in self._rows.earlier and i not in self for i in image_ids)
        removed = sum(i in self._rows and i not in self for i in image_ids)
        notes = [f"left out: {of_earlier('mask', earlier)}"] if earlier else []
        if removed:
            what = "mask whose correction was" if removed == 1 else "masks whose corrections were"
            notes.append(f"left out: {removed} {what} removed; `labelfactory run` makes the line's again")
        return notes

    def _is_row(self, correction: Correction) -> bool:
        image_id = correction.image_id
        return image_id in self._rows and self._rows.made_of[image_id].correction == correction.digest

    def _corrected(self, correction: Correction, record: ImageRecord) -> Mask:
        try:
            mask = corrected_mask(correction, self._classes)
        except DataError:
            if read_corrections().get(correction.image_id) != correction:
                problem = f"{correction.image_id}: its correction was replaced meanwhile"
                raise ChangedMeanwhileError(problem, "Type the command again.") from None
            raise
        if mask.shape != (record.height, record.width):
            sizes = f"{mask.shape[1]}×{mask.shape[0]} pixels, its photograph {record.width}×{record.height}"
            raise DataError(f"{correction.image_id}: the correction is {sizes}", REMEDY)
        return mask
