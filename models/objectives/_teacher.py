"""A mean teacher: a copy of the network whose weights are a moving average of the learner's."""

import copy

import torch
from torch import Tensor, nn

from models.classifier import Classifier


class MeanTeacher(nn.Module):
    """The average network, in evaluation mode and without gradients.

    Tarvainen & Valpola, NeurIPS 2017, arXiv:1703.01780: the first steps average all networks so far, the later ones with `decay`.

    Attributes:
        steps: number of updates, int64 scalar.
    """

    steps: Tensor

    def __init__(self, network: Classifier) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> "MeanTeacher":
        """It stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def follow(self, learner: Classifier, decay: float) -> None:
        """Average the weights with the learner's; statistics are the learner's own."""
        kept = min(decay, int(self.steps) / (int(self.steps) + 1))
        for average, newest in zip(self.network.parameters(), learner.parameters(), strict=True):
            average.lerp_(newest, 1 - kept)
        for statistic, own in zip(self.network.buffers(), learner.buffers(), strict=True):
            statistic.copy_(own)
        self.steps += 1

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probability of each class at each position, [B, C, h, w] float32, of images [B, 3, H, W] in [0, 255]."""
        evidence = self.network.evidence(self.network.activation(images))
        return evidence.float().sigmoid()
