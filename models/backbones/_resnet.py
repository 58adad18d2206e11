"""ResNet with bottlenecks, under torchvision's parameter names, so that its published weights load as they are.

Source  He et al., CVPR 2016, arXiv:1512.03385; variant 1.5: the stride is in the 3×3 convolution.
"""

from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from labelfactory.errors import ParamsError
from models.backbones._base import Backbone, StridePlan
from models.backbones._fold import normed

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions around a skip."""

    def __init__(self, inputs: int, width: int, *, stride: int, dilation: int, project: bool) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, 4 × width, ceil(H / stride), ceil(W / stride)]."""
        y = normed(self.conv1, self.bn1, x, "relu")
        y = normed(self.conv2, self.bn2, y, "relu")
        y = normed(self.conv3, self.bn3, y)
        skip = x if self.downsample is None else normed(self.downsample[0], self.downsample[1], x)  # type: ignore[arg-type]
        return F.relu(y + skip, inplace=True)


class ResNet(Backbone):
    """ResNet of four stages; c2 .. c5 are their outputs."""

    taps = (0, 1, 2, 3)
    channels = (256, 512, 1024, 2048)
    head_channels = 2048

    def __init__(self, blocks: tuple[int, int, int, int], *, output_stride: int) -> None:
        super().__init__(output_stride=output_stride, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        plan = StridePlan(output_stride, start=4)
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for index, count in enumerate(blocks):
            width = 64 * 2**index
            stride, first_dilation, dilation = plan.step(1 if index == 0 else 2)
            stage = nn.Sequential()
            for block in range(count):
                first = block == 0
                stage.append(
                    Bottleneck(
                        inputs,
                        width,
                        stride=stride if first else 1,
                        dilation=first_dilation if first else dilation,
                        project=first,
                    )
                )
                inputs = width * EXPANSION
            self.add_module(f"layer{index + 1}", stage)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self) -> Sequence[nn.Module]:
        """Convolution of stride 2, then pooling of stride 2."""
        return [self.conv1, self.bn1, self.relu, self.maxpool]

    def stages(self) -> Sequence[nn.Module]:
        """The stages `layer1` .. `layer4`."""
        return [self.get_submodule(f"layer{i}") for i in range(1, 5)]

    def published_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's names, without its ImageNet classifier."""
        return {key: value for key, value in state.items() if not key.startswith("fc.")}


def no_package(name: str) -> ParamsError:
    """The error for a backbone whose weights no package has."""
    return ParamsError(
        f"{name} has no weights that come with a package",
        "Give the path or URL of a state dict in torchvision's format and its SHA-256, or write weights: random.",
    )
