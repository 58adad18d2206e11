"""DeepLab v3: atrous spatial pyramid pooling with image-level features.

Source  Chen et al., arXiv:1706.05587.
"""

from torch import Tensor, nn

from models.backbones import Backbone
from models.segmenters._aspp import ASPP
from models.segmenters._base import Segmenter


class DeepLabV3(Segmenter):
    """Logits at the backbone's output stride."""

    def __init__(self, backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> None:
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        self.aspp = ASPP(backbone.channels[3], width, rates, separable=False)
        self.classifier = nn.Conv2d(width, n_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, n_classes, h, w]."""
        logits: Tensor = self.classifier(self.aspp(self.backbone(images).c5))
        return logits


def build(backbone: Backbone, n_classes: int, *, width: int = 256, rates: tuple[int, ...] = (6, 12, 18)) -> DeepLabV3:
    """Build the net.

    Args:
        backbone: gives c5.
        n_classes: with the background.
        width: channels of each branch and of their projection.
        rates: dilation of the 3×3 branches; the paper's are for an output stride of 16, doubled for 8.
    """
    return DeepLabV3(backbone, n_classes, width=width, rates=rates)
