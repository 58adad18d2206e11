"""DeepLab v2: the sum of parallel dilated convolutions from c5 to the classes.

Source  Chen et al., TPAMI 2017, arXiv:1606.00915. A width of 0 is its ResNet form, straight to the classes; otherwise
        each branch is followed by 1×1 convolutions, as in its ASPP-L (figure 7), with one hidden layer of that width.
"""

from torch import Tensor, nn

from models.backbones import Backbone
from models.segmenters._aspp import check_rates
from models.segmenters._base import Segmenter


class DeepLabV2(Segmenter):
    """Logits at the backbone's output stride."""

    def __init__(self, backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> None:
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        check_rates(rates)
        self.branches = nn.ModuleList(_branch(backbone.channels[3], width, n_classes, rate) for rate in rates)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, n_classes, h, w]."""
        c5 = self.backbone(images).c5
        logits: Tensor = self.branches[0](c5)
        for branch in list(self.branches)[1:]:
            logits = logits + branch(c5)
        return logits


def _branch(inputs: int, width: int, n_classes: int, rate: int) -> nn.Module:
    first = nn.Conv2d(inputs, width or n_classes, 3, padding=rate, dilation=rate)
    if width:
        return nn.Sequential(first, nn.ReLU(), nn.Conv2d(width, n_classes, 1))
    nn.init.normal_(first.weight, std=0.01)
    return first


def build(backbone: Backbone, n_classes: int, *, width: int = 0, rates: tuple[int, ...] = (6, 12, 18, 24)) -> DeepLabV2:
    """Build the net.

    Args:
        backbone: gives c5.
        n_classes: with the background.
        width: hidden channels of each branch; 0 for none.
        rates: dilation of the parallel convolutions; the paper's are for an output stride of 8.
    """
    return DeepLabV2(backbone, n_classes, width=width, rates=rates)
