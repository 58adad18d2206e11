"""A training stage of milliseconds in a project of five photographs, and the network that it leaves there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import Workspace
from small_training import Noise, config, learner, small_net, squared
from torch import Tensor, nn

from labelfactory.errors import DataError
from labelfactory.learning.checkpoints import Passport, read_passport
from labelfactory.learning.learner import Batch, Learner
from labelfactory.learning.training import TrainingSection
from labelfactory.stage.training import TrainingStage

CHECKPOINT = Path("data/model/checkpoint.safetensors")


class Trainer(TrainingStage[TrainingSection]):
    """Learns a sum from noise; its rows, parents and supervision are what the test says."""

    writes = "model"
    supervision = "tags"
    seen: ClassVar[list[str]] = []
    allowed: ClassVar[list[str]] = []
    line: ClassVar[dict[str, Passport]] = {}
    rows: ClassVar[dict[str, str]] = {}
    calls_left: ClassVar[int] = 10**6
    measured: ClassVar[int] = 0
    unreadable: ClassVar[bool] = False

    @classmethod
    def stage_name(cls) -> str:
        return "trainer"

    def training_rows(self) -> Mapping[str, str]:
        return self.rows

    def row_source(self, image_id: str) -> str:
        return "tags"

    def foreign_supervision(self) -> list[str]:
        return self.seen

    def allowed_supervision(self) -> list[str]:
        return self.allowed

    def parents(self) -> dict[str, Passport]:
        return self.line

    def architecture(self) -> dict[str, Any]:
        return {"net": "small"}

    def learner(self) -> tuple[Learner, Sequence[Tensor]]:
        return learner(small_net(self.cfg.seed), counted), []

    def examples(self) -> Noise:
        return Noise()

    def ema_decay(self) -> float:
        return 0.9

    def score(self, model: nn.Module) -> dict[str, float]:
        """By the network and the tags of the validation list: it is in evaluation mode, with the weights of the checkpoint."""
        if Trainer.unreadable:
            raise DataError("a photograph is damaged", "Mend it.")
        assert not model.training
        Trainer.measured += 1
        tags = sum(len(record.tags) for record in self.dataset.usable if "val" in record.lists)
        return {"map/val": tags + model(torch.ones(1, 2)).item()}


def counted(model: nn.Module, batch: Batch) -> Tensor:
    """The loss; as Ctrl-C does, it ends the training at the call for which none is left."""
    Trainer.calls_left -= 1
    if Trainer.calls_left < 0:
        raise KeyboardInterrupt
    return squared(model, batch)


def trainer_project(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project whose stage has not trained yet; what a test changes of the stage is put back at its end."""
    workspace.wire("trainer")
    (workspace.root / "data" / "model").mkdir()
    for name, value in (
        ("rows", {"a": "1", "b": "2"}),
        ("line", {}),
        ("seen", ["imagenet-tags"]),
        ("allowed", []),
        ("calls_left", 10**6),
        ("measured", 0),
        ("unreadable", False),
    ):
        monkeypatch.setattr(Trainer, name, value)
    return workspace


def run(**changes: object) -> dict[str, Any]:
    """The report of the stage; `changes` are settings of it."""
    return Trainer(config(**changes)).run()


def parent(weights: str = "w", **changes: object) -> Passport:
    """The passport of the network with other weights, as a parent has it."""
    return read_passport(CHECKPOINT).model_copy(update={"weights_digest": weights, **changes})


def outputs() -> dict[str, bytes]:
    """All that the stage left."""
    return {path.name: path.read_bytes() for path in sorted(CHECKPOINT.parent.iterdir())}
