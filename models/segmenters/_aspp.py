"""Atrous spatial pyramid pooling, and the convolution that it shares with the decoder.

Source  Chen et al., arXiv:1706.05587, section 3.3; separable convolutions as in Chen et al., ECCV 2018,
        arXiv:1802.02611. Deviation: the image-pooling branch has a bias in place of batch norm, which cannot be
        trained on the single value per channel of a batch of one.
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.errors import ParamsError
from models.backbones._convolution import DepthwiseConv2d

DROPOUT = 0.1
Rate = Annotated[int, Field(ge=1, le=64)]
"""Dilation of a branch."""


def conv_bn_relu(
    inputs: int, outputs: int, kernel: int, *, dilation: int = 1, separable: bool = False
) -> nn.Sequential:
    """Convolution, batch norm, ReLU on an unchanged grid; separable: per channel first, then 1×1."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = []
    if separable and kernel > 1:
        depthwise = DepthwiseConv2d(inputs, kernel, padding=padding, dilation=dilation)
        layers += [depthwise, nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False)]
    else:
        layers += [nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU())


class ASPP(nn.Module):
    """1×1, one dilated 3×3 for each rate, and image pooling, side by side, then projected to `width`."""

    def __init__(self, inputs: int, width: int, rates: tuple[int, ...], *, separable: bool) -> None:
        super().__init__()
        check_rates(rates)
        self.branches = nn.ModuleList([conv_bn_relu(inputs, width, 1)])
        for rate in rates:
            self.branches.append(conv_bn_relu(inputs, width, 3, dilation=rate, separable=separable))
        self.image_pooling = nn.Conv2d(inputs, width, 1)
        self.project = nn.Sequential(conv_bn_relu((len(rates) + 2) * width, width, 1), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, h, w] to [B, width, h, w]."""
        pooled = F.relu(self.image_pooling(F.adaptive_avg_pool2d(x, 1))).expand(-1, -1, *x.shape[2:])
        out: Tensor = self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1))
        return out


def check_rates(rates: tuple[int, ...]) -> None:
    """Refuse an empty or non-positive list of dilation rates with a ParamsError."""
    if not rates or min(rates) < 1:
        raise ParamsError(f"aspp rates {list(rates)} must be one or more positive whole numbers", "Mend the rates.")
