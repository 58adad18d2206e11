"""Train the segmenter's net with the same schedule on the same photographs, but on their true masks. Off by default.

Reads   data/dataset       photographs of the training list and their true masks
        data/classifier    checkpoint, where the segmenter starts from it
        data/masks         only which photographs have a pseudo-mask
Writes  data/upper_bound   checkpoint.safetensors, training_rows.parquet, curve.csv; when off, a curve without points
"""

from collections.abc import Mapping
from functools import cached_property

from pydantic import Field

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.truth import check_truth, has_truth, true_mask
from labelfactory.learning.batches import Examples
from labelfactory.learning.checkpoints import Passport
from labelfactory.schema import Mask
from labelfactory.settings.params import Section
from labelfactory.stage.runner import main
from stages._optional import OptionalSegmenterStage

WITHOUT_MASKS = (
    "To go on without them, import the photographs again, which takes the masks that are there, or type "
    "`labelfactory profile --set train_upper_bound.enabled=false`."
)
"""What to do about true masks that are gone for good."""


class TrainUpperBoundConfig(Section):
    """Section `train_upper_bound` of params.yaml; other values are those of `train_segmenter`."""

    enabled: bool = Field(
        description="train the segmenter on true masks too; other values are those of `train_segmenter`"
    )


class TrainUpperBound(OptionalSegmenterStage):
    """Trains on true masks."""

    section = TrainUpperBoundConfig  # type: ignore[assignment]
    reads = ("dataset", "classifier", "masks")
    writes = "upper_bound"
    supervision = "masks"
    without_images = "Import true masks, or type `labelfactory profile --set train_upper_bound.enabled=false`."

    @cached_property
    def records(self) -> list[ImageRecord]:
        """The segmenter's photographs that have a true mask."""
        return [record for record in super().records if has_truth(record)]

    def examples(self) -> Examples:
        """Random crops of photographs and true masks.

        Raises:
            DataError: a true mask cannot be read; it would be learnt from with the others before long.
        """
        check_truth(self.records, WITHOUT_MASKS)
        return super().examples()

    def mask_of(self, record: ImageRecord) -> tuple[Mask, None]:
        """The true mask."""
        return true_mask(record, self.dataset), None

    def training_rows(self) -> Mapping[str, str]:
        """Digest of each photograph, its true mask, and the classes of the mask's values."""
        return {record.image_id: self.dataset.supervised_digest(record) for record in self.records}

    def parents(self) -> dict[str, Passport]:
        """The classifier, if the backbone starts from it."""
        return {"classifier": self.passport_of("classifier")} if self.cfg.from_classifier else {}

    def row_source(self, image_id: str) -> str:
        """True masks."""
        return "true masks"


if __name__ == "__main__":
    main(TrainUpperBound)
