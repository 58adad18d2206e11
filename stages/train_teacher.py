"""Train a first segmenter on the confident pixels alone; where there is one, its scores walk in place of the CAMs.

A net that has seen all photographs of a class knows more of its shape than one photograph's CAM does. Off unless asked for.

Reads   data/dataset          photographs of the training list
        data/classifier       checkpoint, where the segmenter starts from it
        data/affinity_labels  label [h, w] uint8 over the whole photograph, 255 void
Writes  data/teacher          checkpoint.safetensors, training_rows.parquet, curve.csv; when off, a curve without points
Source  docs/decisions/0009. Training again on labels of one's own: Lee, ICML 2013 workshop (pseudo-labels).
"""

from typing import Any

from pydantic import Field

from labelfactory.learning.checkpoints import Passport
from labelfactory.settings.params import Section
from labelfactory.stage.runner import main
from stages._labelled import LabelledStage
from stages._optional import OptionalSegmenterStage
from stages._segmenter import SegmenterSection


class TrainTeacherConfig(Section):
    """Section `train_teacher` of params.yaml; all else stands in `train_segmenter`."""

    enabled: bool = Field(
        description=(
            "train a first segmenter on the affinity labels; its scores then walk in place of the CAMs. All else "
            "stands in `train_segmenter`"
        )
    )
    epochs: int = Field(ge=1, le=1000, description="passes over the training list")
    least_steps: int = Field(
        ge=0, le=1_000_000, description="more passes where those make fewer steps than this, as with few photographs"
    )


class TrainTeacher(LabelledStage[SegmenterSection], OptionalSegmenterStage):
    """Trains on affinity labels."""

    section = TrainTeacherConfig  # type: ignore[assignment]
    reads = ("dataset", "classifier", "affinity_labels")
    writes = "teacher"

    @staticmethod
    def changed(segmenter: SegmenterSection, own: Any) -> SegmenterSection:
        """Another length."""
        return segmenter.model_copy(update={"epochs": own.epochs, "least_steps": own.least_steps})

    def parents(self) -> dict[str, Passport]:
        """The network that made the labels."""
        return {"classifier": self.passport_of("classifier")}


if __name__ == "__main__":
    main(TrainTeacher)
