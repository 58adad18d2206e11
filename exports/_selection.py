"""The photographs and masks of an export, read one by one."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exports._held_masks import HeldMasks
from exports._origin import origin_of, with_digest
from exports._predictor import LineModel, Predictions
from labelfactory.console import first_of, say
from labelfactory.dataset.images import decode_photograph, orientation_of
from labelfactory.dataset.picture_files import suffix_of
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.dataset.withdrawn import say_refused, withdrawn
from labelfactory.digests import digest_payload
from labelfactory.errors import ChangedMeanwhileError, DataError, MissingError
from labelfactory.foreign_files import read_imported
from labelfactory.names import file_name
from labelfactory.progress import progress
from labelfactory.schema import Mask
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.specks import MIN_AREA

SHOWN = 5
KNOWN_TO_ALL = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
"""Suffixes of photographs that the tools behind the exports read."""
QUALITY = {
    "masks": "expected mIoU of the mask, found without its truth; 0 for one that shows none of its tags, 1 for one that a person "
    "corrected, null for one that was not rated",
    "predictions": "confidence: mean over the pixels of the best class's probability",
}


@dataclass(frozen=True)
class Item:
    """One photograph and its mask."""

    record: ImageRecord
    mask: Mask  # [height, width] uint8 of class ids, 255 void, upright
    digest: str  # of the mask
    quality: float | None  # in [0, 1]; None where it was not rated
    source: str  # refine_crf, human, or segmenter

    @property
    def name(self) -> str:
        """Name of its files, without suffix."""
        return file_name(self.record.image_id)

    @cached_property
    def photograph(self) -> tuple[bytes, str]:
        """The bytes of the photograph's file, which are those that were imported, and its suffix.

        A photograph with an EXIF orientation becomes an upright PNG, since not every reader applies EXIF; so does one whose
        format or suffix not every reader knows.

        Raises:
            DataError: the file is missing, has changed, is a link out of the project, or not a photograph.
        """
        path = Path(self.record.path)
        data = read_imported(path, self.record.sha256)
        try:
            if orientation_of(data) == 1:
                suffix = next((s for s in (path.suffix.lower(), suffix_of(data)) if s in KNOWN_TO_ALL), "")
                if suffix:
                    return data, suffix
            stream = io.BytesIO()
            Image.fromarray(decode_photograph(data)).save(stream, format="PNG")
        except DataError as error:
            raise DataError(f"{path}: {error.problem}", "Replace the file and import the images again.") from None
        return stream.getvalue(), ".png"

    def facts(self) -> dict[str, Any]:
        """For provenance.json."""
        return {
            "photograph": self.record.sha256,
            "mask": self.digest,
            "quality": None if self.quality is None else round(self.quality, 6),
            "source": self.source,
        }

    @classmethod
    def predicted(cls, record: ImageRecord, predictions: Predictions, source: str) -> "Item":
        """A photograph with the mask that a segmenter predicts."""
        mask, quality = predictions.of(record)
        return cls(record, mask, digest_payload({"mask": np.asarray(mask)}), quality, source)

    def write_photograph(self, folder: Path) -> Path:
        """Write the photograph into a folder; returns its path."""
        data, suffix = self.photograph
        path = folder / f"{self.name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path


class Selection:
    """The photographs of a data set that have a mask, of one list, above a quality; and where they come from.

    Args:
        what: "masks", the pseudo-masks of the line, or "predictions" of the trained segmenter.
        split: a list of the data set; empty for all photographs.
        min_quality: leave out masks below it; in [0, 1]. Above 0 it leaves out those too that were not rated.
        min_area: pixels of the smallest object, for formats with an annotation for each object.

    Raises:
        MissingError: there is no data set, no mask or no segmenter yet.
        DataError: there is no such list, or the segmenter was trained for other classes.
    """

    def __init__(self, what: str, *, split: str = "", min_quality: float = 0.0, min_area: int = MIN_AREA) -> None:
        self.what, self.split, self.min_quality, self.min_area = what, split, min_quality, min_area
        self.dataset: Dataset
        self.dataset, self.dataset_sha256 = with_digest(DATA / "dataset" / "images.parquet", read_dataset)
        records = self.dataset.on_list(split) if split else self.dataset.usable
        gone = withdrawn()  # `withdraw --later` leaves data set and masks as they are until the next run
        say_refused([(r.image_id, r.sha256) for r in records if gone.refuses(r.image_id, r.sha256)], doing="export")
        self._allowed = tuple(r for r in records if not gone.refuses(r.image_id, r.sha256))
        self.records = self._allowed
        self.exported: dict[str, dict[str, Any]] = {}
        self.delivered: dict[str, str] = {}
        """Image id → SHA-256 of every photograph that goes out, those of `Validation` too."""
        self.not_in_rows: set[str] = set()
        """Exported corrections that no run has taken up yet: no row has their mask."""
        self.not_rated = 0
        """Masks that were left out since their quality is not known."""
        self._maker = read_wiring().masks if what == "masks" else read_wiring().model
        folder = DATA / self._maker.noun
        self._predictions = LineModel().predictions(self.classes) if what == "predictions" else None
        self.origin = origin_of(what, self._predictions.model.passport if self._predictions else None)
        self._masks = HeldMasks(folder, self.dataset, maker=self._maker.name) if what == "masks" else None
        if self._masks is not None:
            self.records = self._with_mask(self._masks)
        if not self.records:
            raise DataError(
                f"no photograph{' on the list ' + repr(split) if split else ''} has a mask",
                "Only photographs of the training list have masks; `--what predictions` makes one for every photograph.",
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Names by class id, the background first."""
        return self.dataset.classes.with_background

    def __iter__(self) -> Iterator[Item]:
        """Every item, in the data set's order; each is noted for provenance.json."""
        self.exported.clear()
        self.delivered.clear()
        self.not_in_rows.clear()
        self.not_rated = 0
        with progress("export", len(self.records)) as tick:
            for record in self.records:
                item = self._item(record)
                if self.min_quality and (item.quality is None or item.quality < self.min_quality):
                    self.not_rated += item.quality is None
                    tick()
                else:
                    self.exported[record.image_id] = item.facts()
                    self.delivered[record.image_id] = record.sha256
                    yield item
                    tick(size=len(item.photograph[0]))
        if not self.exported and self.not_rated:
            raise MissingError(
                f"{self.not_rated} masks on disk have no quality, so none is known to reach {self.min_quality:g}",
                "Type `labelfactory run`, which rates them, or leave --min-quality out.",
            )
        if not self.exported:
            raise DataError(
                f"no mask reaches the quality {self.min_quality:g}", "Give a lower --min-quality, between 0 and 1."
            )

    def waiting_on(self, name: str) -> tuple[ImageRecord, ...]:
        """The photographs of a list that have no mask, whatever its quality."""
        masked = {record.image_id for record in self.records}
        return tuple(r for r in self._allowed if name in r.lists and r.image_id not in masked)

    def list_of(self, item: Item) -> str:
        """One list, for formats with one list per photograph: the line's training or validation list, else its first."""
        for name in (self.split, self.dataset.train_list, self.dataset.val_list):
            if name and name in item.record.lists:
                return name
        return item.record.lists[0] if item.record.lists else "rest"

    def refuse_withdrawn(self) -> None:
        """Refuse to deliver what was withdrawn since the selection was made.

        Raises:
            ChangedMeanwhileError: it is among what goes out.
        """
        gone = withdrawn()
        ids = [image_id for image_id, sha256 in self.delivered.items() if gone.refuses(image_id, sha256)]
        if ids:
            raise ChangedMeanwhileError(
                f"withdrawn during the export: {first_of(ids, SHOWN)}; nothing was written",
                "Type the command again: it leaves them out.",
            )

    def _with_mask(self, masks: HeldMasks) -> tuple[ImageRecord, ...]:
        """The photographs that have a mask; says how many masks on disk are of others."""
        folder = f"data/{self._maker.noun}"
        notes = masks.notes([record.image_id for record in self._allowed])
        if not any(record.image_id in masks for record in self.dataset.usable):
            problem = f"{folder}: contains no mask yet"
            if notes:
                problem = f"{folder}: contains no mask of the data set as it is now"
            raise MissingError("\n".join([problem, *notes]), "Type `labelfactory run`.")
        for note in notes:
            say(f"export: {note}")
        return tuple(record for record in self._allowed if record.image_id in masks)

    def _item(self, record: ImageRecord) -> Item:
        if self._masks is not None:
            held = self._masks[record]
            if not held.is_row:
                self.not_in_rows.add(record.image_id)
            return Item(record, held.mask, held.digest, held.quality, held.source)
        if self._predictions is None:
            raise RuntimeError(f"a selection of {self.what!r}")
        return Item.predicted(record, self._predictions, self._maker.noun)
