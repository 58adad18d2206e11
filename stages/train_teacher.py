"""Train a first segmenter, the teacher, on the confident pixels alone; the random walk then starts from its scores.

A net trained on all photographs of a class knows more of its shape than the CAM of one photograph. Off by default.

Reads   data/dataset          photographs of the training list
        data/classifier       checkpoint, where the segmenter starts from it
        data/affinity_labels  label [h, w] uint8 over the whole photograph, 255 void
Writes  data/teacher          checkpoint.safetensors, training_rows.parquet, curve.csv; when off, a curve without points
Source  docs/decisions/0009. Training on own labels: Lee, ICML 2013 workshop (pseudo-labels).
"""

from typing import Any

from pydantic import Field

from labelfactory.learning.checkpoints import Passport
from labelfactory.learning.training import LeastSteps
from labelfactory.settings.params import Section
from labelfactory.stage.runner import main
from stages._labelled import LabelledStage
from stages._optional import OptionalSegmenterStage
from stages._segmenter import SegmenterSection


class TrainTeacherConfig(Section):
    """Section `train_teacher` of params.yaml; other values are those of `train_segmenter`."""

    enabled: bool = Field(
        description=(
            "train a first segmenter on the affinity labels; its scores then replace the CAMs in the walk. Other values "
            "are those of `train_segmenter`"
        )
    )
    epochs: int = Field(ge=1, le=1000, description="passes over the training list")
    least_steps: LeastSteps = Field(
        description="least number of steps in all: few photographs get more passes; `auto`: the steps of 960 photographs"
    )


class TrainTeacher(LabelledStage[SegmenterSection], OptionalSegmenterStage):
    """Trains on affinity labels."""

    section = TrainTeacherConfig  # type: ignore[assignment]
    reads = ("dataset", "classifier", "affinity_labels")
    writes = "teacher"

    @staticmethod
    def changed(segmenter: SegmenterSection, own: Any) -> SegmenterSection:
        """The segmenter's section with this stage's length of training."""
        return segmenter.model_copy(update={"epochs": own.epochs, "least_steps": own.least_steps})

    def parents(self) -> dict[str, Passport]:
        """The network that made the labels."""
        return {"classifier": self.passport_of("classifier")}


if __name__ == "__main__":
    main(TrainTeacher)
