"""A very small residual network for tests and for the rendered demo; it is trained from scratch within seconds."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from labelfactory.errors import ParamsError
from models.backbones._base import Backbone, StridePlan

STEM_CHANNELS = 16
CHANNELS = (24, 48, 64, 96)


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=padding, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around a 1×1 skip."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        self.first = _conv_bn(inputs, outputs, 3, stride, first_dilation)
        self.second = _conv_bn(outputs, outputs, 3, dilation=dilation)
        self.skip = _conv_bn(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        return F.relu(self.second(F.relu(self.first(x))) + self.skip(x))


class Tiny(Backbone):
    """A stem and four residual blocks; c2 .. c5 are their outputs."""

    taps = (0, 1, 2, 3)
    channels = CHANNELS
    head_channels = CHANNELS[-1]

    def __init__(self, *, output_stride: int) -> None:
        super().__init__(output_stride=output_stride, mean=[127.0] * 3, std=[64.0] * 3)
        plan = StridePlan(output_stride, start=2)
        self.stem_conv = nn.Sequential(_conv_bn(3, STEM_CHANNELS, 3, 2), nn.ReLU())
        self.blocks = nn.ModuleList()
        inputs = STEM_CHANNELS
        for outputs in CHANNELS:
            stride, first_dilation, dilation = plan.step(2)
            self.blocks.append(
                ResidualBlock(inputs, outputs, stride=stride, first_dilation=first_dilation, dilation=dilation)
            )
            inputs = outputs

    def stem(self) -> Sequence[nn.Module]:
        """The 3×3 convolution of stride 2."""
        return [self.stem_conv]

    def stages(self) -> Sequence[nn.Module]:
        """The four blocks."""
        return list(self.blocks)


def build(*, output_stride: int) -> Tiny:
    """The network with random weights."""
    return Tiny(output_stride=output_stride)


def published_weights() -> dict[str, Tensor]:
    """There are none.

    Raises:
        ParamsError: always.
    """
    raise ParamsError("the backbone tiny has no pretrained weights", "Write weights: random, or name another backbone.")
