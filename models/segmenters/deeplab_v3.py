"""DeepLab v3: atrous spatial pyramid pooling with image-level features.

Source  Chen et al., arXiv:1706.05587.
"""

from pydantic import Field
from torch import Tensor, nn

from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone, Features
from models.segmenters._aspp import ASPP, Rate
from models.segmenters._base import Segmenter


class Config(MethodConfig):
    """Knobs of `deeplab_v3`."""

    width: int = Field(default=256, ge=16, le=1024, description="channels of each branch and of their projection")
    rates: tuple[Rate, ...] = Field(
        default=(6, 12, 18), min_length=1, description="dilations of the 3×3 branches, for stride 16"
    )


class DeepLabV3(Segmenter):
    """Logits at the backbone's output stride."""

    def __init__(self, backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> None:
        super().__init__(backbone, n_classes, stride=backbone.output_stride)
        self.aspp = ASPP(backbone.channels[3], width, rates, separable=False)
        self.classifier = nn.Conv2d(width, n_classes, 1)

    def decode(self, features: Features) -> Tensor:
        """The pyramid over c5."""
        decoded: Tensor = self.aspp(features.c5)
        return decoded


def build(backbone: Backbone, n_classes: int, *, width: int, rates: tuple[int, ...]) -> DeepLabV3:
    """Build the net.

    Args:
        backbone: gives c5.
        n_classes: with the background.
        width: channels of each branch and of their projection.
        rates: dilation of the 3×3 branches; the paper's are for an output stride of 16, doubled for 8.
    """
    return DeepLabV3(backbone, n_classes, width=width, rates=rates)
