"""EfficientNet-Lite: inverted bottlenecks with batch norm and ReLU6, without squeeze-and-excitation.

Source  Tan & Le, ICML 2019, arXiv:1905.11946; the Lite variant as in TensorFlow's efficientnet/lite builder, whose
        padding ("SAME") and input scaling it keeps, since the ImageNet weights were trained with them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.backbones._base import Backbone, StridePlan
from models.backbones._convolution import Activation, SameConv2d
from models.backbones._fold import normed

# (blocks, kernel, stride, expansion, channels) of each stage of Lite0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, and ReLU6 or none."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: Activation = "relu6",
    ) -> None:
        conv = SameConv2d(inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups)
        super().__init__(conv, nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        conv: Any = self[0]
        return normed(conv, self[1], x, self.activation)


class MBConv(nn.Module):
    """Expand by 1×1, convolve each channel, project by 1×1; a skip where the shape allows it."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int, dilation: int, skip: bool
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner) if expansion > 1 else None
        self.depthwise = ConvNorm(inner, inner, kernel, stride=stride, dilation=dilation, groups=inner)
        self.project = ConvNorm(inner, outputs, activation="none")
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, ceil(H / stride), ceil(W / stride)]."""
        y = x if self.expand is None else self.expand(x)
        out: Tensor = self.project(self.depthwise(y))
        return x + out if self.skip else out


class EfficientNetLite(Backbone):
    """EfficientNet-Lite of a given width and depth; c2 .. c5 are its stages 2, 3, 5 and 7."""

    taps = (1, 2, 4, 6)
    head_channels = HEAD_CHANNELS

    def __init__(self, *, width: float, depth: float, output_stride: int) -> None:
        super().__init__(output_stride=output_stride, mean=[127.0] * 3, std=[128.0] * 3)
        plan = StridePlan(output_stride, start=2)
        self.stem_conv = nn.Sequential(ConvNorm(3, STEM_CHANNELS, 3, stride=2))
        self.blocks = nn.ModuleList()
        inputs, widths = STEM_CHANNELS, []
        for index, (blocks, kernel, stride, expansion, channels) in enumerate(STAGES):
            outputs = _round_channels(channels * width)
            scaled = 0 < index < len(STAGES) - 1  # the Lite variant keeps the first and last stage's depth
            first_stride, first_dilation, dilation = plan.step(stride)
            stage = nn.Sequential()
            for block in range(math.ceil(blocks * depth) if scaled else blocks):
                first = block == 0
                stage.append(
                    MBConv(
                        inputs,
                        outputs,
                        kernel=kernel,
                        expansion=expansion,
                        stride=first_stride if first else 1,
                        dilation=first_dilation if first else dilation,
                        skip=not first,
                    )
                )
                inputs = outputs
            self.blocks.append(stage)
            widths.append(outputs)
        self.top = nn.Sequential(ConvNorm(inputs, HEAD_CHANNELS))
        self.channels = (widths[1], widths[2], widths[4], widths[6])

    def stem(self) -> Sequence[nn.Module]:
        """The 3×3 convolution of stride 2."""
        return [self.stem_conv]

    def stages(self) -> Sequence[nn.Module]:
        """The seven stages of bottlenecks."""
        return list(self.blocks)

    def head(self, c5: Tensor) -> Tensor:
        """The pretrained 1×1 convolution to [B, 1280, h, w], in [0, 6]."""
        out: Tensor = self.top(c5)
        return out

    def published_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename the weights of the package efficientnet_lite_pytorch, which numbers blocks across stages."""
        positions = [(s, b) for s, stage in enumerate(self.blocks) for b in range(len(list(stage.children())))]
        parts = {"_expand_conv": "expand.0", "_bn0": "expand.1", "_depthwise_conv": "depthwise.0"}
        parts |= {"_bn1": "depthwise.1", "_project_conv": "project.0", "_bn2": "project.1"}
        outer = {"_conv_stem": "stem_conv.0.0", "_bn0": "stem_conv.0.1", "_conv_head": "top.0.0", "_bn1": "top.0.1"}
        renamed = {}
        for key, value in state.items():
            block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", key)
            module, _, leaf = key.partition(".")
            if block and int(block[1]) < len(positions) and block[2] in parts:
                s, b = positions[int(block[1])]
                renamed[f"blocks.{s}.{b}.{parts[block[2]]}.{block[3]}"] = value
            elif module in outer:
                renamed[f"{outer[module]}.{leaf}"] = value
            elif module != "_fc":
                renamed[key] = value  # `load_published` refuses it by name
        return renamed


def _round_channels(channels: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
