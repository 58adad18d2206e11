"""Objectives whose loss depends on how much of the training is done."""

from typing import Any

import torch
from torch import Tensor

from labelfactory.learning.learner import Look
from models.classifier import Classifier
from models.objectives._base import Objective


class ScheduledObjective(Objective):
    """An objective that knows the number of finished epochs.

    Attributes:
        finished: that number, int64 scalar; it is part of the state, so a resumed training goes on with it.
    """

    finished: Tensor

    def __init__(self, network: Classifier, config: Any, *, targets: Tensor, epochs: int) -> None:
        super().__init__(network, config, targets=targets, epochs=epochs)
        self.register_buffer("finished", torch.zeros((), dtype=torch.int64))

    def ramp(self, share: float) -> float:
        """0 in the first epoch, 1 once `share` of the epochs are finished, linear between; 1 at once for a share of 0."""
        return min(1.0, int(self.finished) / (share * self.epochs)) if share else 1.0

    def started(self, share: float) -> bool:
        """Whether `share` of the epochs are finished, rounded down: what needs maps that mean something may begin."""
        return int(self.finished) >= int(share * self.epochs)

    def after_epoch(self, epoch: int, look: Look) -> None:
        """Count the epoch."""
        self.finished.fill_(epoch)
