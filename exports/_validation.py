"""The validation list in an export of the line's masks, for formats that cannot do without one.

The line masks the training list alone, and true masks are for `evaluate`: so the trained segmenter predicts these masks.
"""

from collections.abc import Iterator
from typing import Any

from exports._predictor import LineModel
from exports._selection import Item, Selection
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.learning.checkpoints import CHECKPOINT, read_passport
from labelfactory.progress import progress
from labelfactory.settings.wiring import DATA, read_wiring


class Validation:
    """The photographs of the validation list with predicted masks; none where the selection has the list, or has one list only.

    Args:
        selection: the export.
        there: whether it has masks of the validation list.
    """

    def __init__(self, selection: Selection, *, there: bool) -> None:
        self.list, self.there = selection.dataset.val_list, there
        self._delivered = selection.delivered
        self.images: dict[str, dict[str, Any]] = {}
        self.weights: str | None = None
        checkpoint = DATA / read_wiring().model.noun / CHECKPOINT
        self._records: tuple[ImageRecord, ...] = ()
        self.missing = ""
        if there:
            return
        self._records = () if selection.split else selection.waiting_on(self.list)
        if selection.split:
            self.missing = f"only the list {selection.split!r} was asked for"
        elif not self._records:
            self.missing = f"the list {self.list!r} has no photograph of its own"
        elif not checkpoint.exists():
            self._records = ()
            self.missing = "no segmenter is trained that could predict masks of the validation list"
        elif ("background", *read_passport(checkpoint).classes) != selection.classes:
            self._records = ()
            self.missing = (
                "the segmenter was trained for other classes; `labelfactory run` trains it for those of the data set"
            )
        self._classes = selection.classes

    def __iter__(self) -> Iterator[Item]:
        """Every photograph and its predicted mask; each is noted for provenance.json."""
        if not self._records:
            return
        predictions = LineModel().predictions(
            self._classes
        )  # a run may have replaced the model since: it is asked again
        self.weights = predictions.model.passport.weights_digest
        with progress("export", len(self._records)) as tick:
            for record in self._records:
                item = Item.predicted(record, predictions, read_wiring().model.noun)
                self.images[record.image_id] = item.facts()
                self._delivered[record.image_id] = record.sha256
                yield item
                tick()

    def facts(self) -> dict[str, Any]:
        """For provenance.json: where the masks of the list are from, or why another list stands in its place."""
        if self.missing:
            return {"list": None, "why": self.missing}
        facts: dict[str, Any] = {"list": self.list}
        return facts if self.there else {**facts, "predicted": self.images, "weights_digest": self.weights}
