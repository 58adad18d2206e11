"""DeepLab v2: the sum of parallel dilated convolutions from c5 to the classes.

Source  Chen et al., TPAMI 2017, arXiv:1606.00915. A width of 0 is its ResNet form, straight to the classes; otherwise
        each branch is followed by 1×1 convolutions, as in its ASPP-L (figure 7), with one hidden layer of that width.
"""

from pydantic import Field
from torch import Tensor, nn

from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone, Features
from models.segmenters._aspp import Rate, check_rates
from models.segmenters._base import Segmenter


class Config(MethodConfig):
    """Knobs of `deeplab_v2`."""

    width: int = Field(default=0, ge=0, le=1024, description="hidden channels of each branch; 0 for none")
    rates: tuple[Rate, ...] = Field(
        default=(6, 12, 18, 24), min_length=1, description="dilations of the parallel 3×3 branches; the paper's"
    )


class DeepLabV2(Segmenter):
    """Logits at the backbone's output stride."""

    def __init__(self, backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> None:
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        check_rates(rates)
        self.branches = nn.ModuleList(_branch(backbone.channels[3], width, n_classes, rate) for rate in rates)

    def decode(self, features: Features) -> Tensor:
        """c5 itself."""
        return features.c5

    def head(self, decoded: Tensor) -> Tensor:
        """The sum of the branches."""
        logits: Tensor = self.branches[0](decoded)
        for branch in list(self.branches)[1:]:
            logits = logits + branch(decoded)
        return logits


def _branch(inputs: int, width: int, n_classes: int, rate: int) -> nn.Module:
    first = nn.Conv2d(inputs, width or n_classes, 3, padding=rate, dilation=rate)
    if width:
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(width, n_classes, 1))
    nn.init.normal_(first.weight, std=0.01)
    return first


def build(backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> DeepLabV2:
    """Build the net.

    Args:
        backbone: gives c5.
        n_classes: with the background.
        width: hidden channels of each branch; 0 for none.
        rates: dilation of the parallel convolutions; the paper's are for an output stride of 8.
    """
    return DeepLabV2(backbone, n_classes, width=width, rates=rates)
