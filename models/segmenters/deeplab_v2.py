"""DeepLab v2: the sum of parallel dilated convolutions from c5 straight to the classes.

Source  Chen et al., TPAMI 2017, arXiv:1606.00915, its ResNet form.
"""

from torch import Tensor, nn

from models.backbones import Backbone
from models.segmenters._aspp import check_rates
from models.segmenters._base import Segmenter


class DeepLabV2(Segmenter):
    """Logits at the backbone's output stride."""

    def __init__(self, backbone: Backbone, n_classes: int, *, rates: tuple[int, ...]) -> None:
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        check_rates(rates)
        inputs = backbone.channels[3]
        self.branches = nn.ModuleList(nn.Conv2d(inputs, n_classes, 3, padding=r, dilation=r) for r in rates)
        for branch in self.branches.parameters():
            nn.init.normal_(branch, std=0.01) if branch.ndim > 1 else nn.init.zeros_(branch)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, n_classes, h, w]."""
        c5 = self.backbone(images).c5
        logits: Tensor = self.branches[0](c5)
        for branch in list(self.branches)[1:]:
            logits = logits + branch(c5)
        return logits


def build(backbone: Backbone, n_classes: int, *, rates: tuple[int, ...] = (6, 12, 18, 24)) -> DeepLabV2:
    """Build the net.

    Args:
        backbone: gives c5.
        n_classes: with the background.
        rates: dilation of the parallel convolutions; the paper's are for an output stride of 8.
    """
    return DeepLabV2(backbone, n_classes, rates=rates)
