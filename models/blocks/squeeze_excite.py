"""Squeeze-and-excitation: each channel is scaled by a gate computed from the means of all channels.

Source  Hu et al., CVPR 2018, arXiv:1709.01507. Deviation: the gate is 2 σ(·) with zeros in its last layer, so that the block
        is the identity at the start.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.settings.registry import MethodConfig


class Config(MethodConfig):
    """Knobs of `squeeze_excite`."""

    reduction: int = Field(default=16, ge=1, le=256, description="the hidden layer has channels / reduction units")


class SqueezeExcite(nn.Module):
    """x · 2 σ(W2 ReLU(W1 mean(x)))."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, max(1, channels // reduction))
        self.excite = nn.Linear(max(1, channels // reduction), channels)
        nn.init.zeros_(self.excite.weight)
        nn.init.zeros_(self.excite.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] to the same shape."""
        gate = 2 * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))))
        return x * gate[:, :, None, None].to(x.dtype)


def build(channels: int, *, reduction: int) -> SqueezeExcite:
    """The block for features with `channels` channels."""
    return SqueezeExcite(channels, reduction)
