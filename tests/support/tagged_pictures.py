"""A classifier's training of seconds under any objective: noisy pictures whose tags are bright squares of a colour."""

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from small_training import config
from torch import nn

from labelfactory.learning import training
from labelfactory.learning.learner import Batch
from labelfactory.learning.resume import Resume
from labelfactory.settings.registry import choose
from models.backbones import build_backbone
from models.classifier import Classifier, classifier_from
from models.objectives import Objective

CLASSES = 3
SIZE = 33
TAGS = [[0], [1, 2], [], [0, 1], [2], [0]]


def targets(tags: list[list[int]] = TAGS, classes: int = CLASSES) -> torch.Tensor:
    """[N, classes] float32 of 0 and 1."""
    rows = torch.zeros(len(tags), classes)
    for row, ids in zip(rows, tags, strict=True):
        row[ids] = 1
    return rows


class TaggedPictures:
    """Pictures of SIZE × SIZE pixels; a tag is a square of 12 pixels that is bright in the channel of the tag's number."""

    def __init__(self, tags: list[list[int]] = TAGS) -> None:
        self.tags, self.targets = tags, targets(tags)

    def __len__(self) -> int:
        return len(self.tags)

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        image: NDArray[np.float32] = rng.uniform(0, 120, (3, SIZE, SIZE)).astype(np.float32)
        for tag in self.tags[index]:
            top, left = rng.integers(0, SIZE - 12, 2)
            image[tag, top : top + 12, left : left + 12] = 250
        window = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0])
        return {
            "image": torch.from_numpy(image),
            "window": window,
            "target": self.targets[index],
            "index": torch.tensor(index),
        }

    def whole(self, index: int, long_side: int) -> Batch:
        return self.get(index, np.random.default_rng(index))

    def batch(self, *indices: int) -> Batch:
        """These pictures."""
        rows = [self.whole(index, SIZE) for index in indices]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def make_objective(
    name: str, *, epochs: int = 3, seed: int = 0, tags: list[list[int]] = TAGS, freeze: int | None = None, **knobs: Any
) -> Objective:
    """An objective by its name around a tiny network with random weights; `freeze` stages of it are frozen."""
    torch.manual_seed(seed)
    chosen = choose("models.objectives", {"name": name, **knobs})
    backbone = build_backbone("tiny", output_stride=16, state=None, pretrained=False)
    if freeze is not None:
        backbone.freeze(freeze)
    objective = chosen.subclass_of(Objective)
    network = objective.build_network(backbone, CLASSES, chosen)
    nn.init.normal_(network.classifier.weight, std=0.3)
    return objective(network, chosen, targets=targets(tags), epochs=epochs)


def train_objective(
    objective: Objective, folder: Path, *, epochs: int = 3, tags: list[list[int]] = TAGS, killed_in: int = -1
) -> Any:
    """Train with `fit`; gives network and curve. The process is killed in the step of number `killed_in`."""
    forward, steps = objective.forward, iter(range(1_000_000))

    def step(batch: Batch) -> Any:
        if next(steps) == killed_in:
            raise KeyboardInterrupt
        return forward(batch)

    objective.forward = step  # type: ignore[method-assign]
    resume = Resume(folder / "resume.pt", "k")
    cfg = config(epochs=epochs, learning_rate=0.002)
    with patch.object(training, "cores", return_value=1):  # steps this small only wait for a second thread
        return training.fit(objective, TaggedPictures(tags), cfg, pretrained=[], title="test", resume=resume)


def rebuilt(name: str, network: nn.Module, **knobs: Any) -> Classifier:
    """The classifier of a checkpoint with this network's weights."""
    architecture = {
        "backbone": "tiny",
        "output_stride": 16,
        "folded": False,
        "classes": CLASSES,
        "objective": choose("models.objectives", {"name": name, **knobs}).model_dump(mode="json"),
    }
    return classifier_from(architecture, {k: v.clone() for k, v in network.state_dict().items()})
