"""A training of milliseconds: its settings, examples, net and loss."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from labelfactory.learning.learner import Batch, LossLearner, Terms
from labelfactory.learning.training import TrainingSection


def config(**changes: object) -> TrainingSection:
    values: dict[str, Any] = {
        "epochs": 3,
        "least_steps": 0,
        "batch_size": 2,
        "learning_rate": 0.05,
        "head_factor": 2.0,
        "rate": "absolute",
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "decay": "poly",
        "warmup_steps": 1,
        "clip_norm": 10,
        "precision": "32-true",
        "seed": 5,
    }
    return TrainingSection(**{**values, **changes})


class Noise:
    """Examples that depend on the generator which they are given, as augmentation does."""

    def __init__(self, count: int = 5) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        x = torch.from_numpy(rng.normal(size=2).astype(np.float32)) + index
        return {"x": x, "y": x.sum()[None], "index": torch.tensor(index)}

    def whole(self, index: int, long_side: int) -> Batch:
        return {"x": torch.full((2,), float(index)), "index": torch.tensor(index)}


def small_net(seed: int = 0) -> nn.Module:
    """Weights, statistics and dropout: everything that a resumed run has to bring back."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.3), nn.Linear(3, 1))


def squared(model: nn.Module, batch: Batch) -> Tensor:
    return ((model(batch["x"]) - batch["y"]) ** 2).mean()


class OneTerm:
    """A loss of one term, `loss`."""

    def __init__(self, loss: Callable[[nn.Module, Batch], Tensor]) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        return {"loss": self.loss(model, batch)}


def learner(model: nn.Module, loss: Callable[[nn.Module, Batch], Tensor] = squared) -> LossLearner:
    """A net under a loss of one term."""
    return LossLearner(model, OneTerm(loss))


def same(first: nn.Module, second: nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
