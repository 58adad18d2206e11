"""DeepLab v3+: the pyramid of v3, refined by a decoder that reads c2.

Source  Chen et al., ECCV 2018, arXiv:1802.02611; convolutions of pyramid and decoder are separable, as there.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from labelfactory.settings.registry import MethodConfig
from models.backbones import Backbone, Features
from models.segmenters._aspp import ASPP, Rate, conv_bn_relu
from models.segmenters._base import Segmenter

DECODER_STRIDE = 4


class Config(MethodConfig):
    """Knobs of `deeplab_v3plus`."""

    width: int = Field(
        default=256, ge=16, le=1024, description="channels of each branch, of their projection and of the decoder"
    )
    skip_width: int = Field(default=48, ge=8, le=512, description="channels to which c2 is reduced")
    rates: tuple[Rate, ...] = Field(
        default=(6, 12, 18), min_length=1, description="dilations of the 3×3 branches, for stride 16"
    )


class DeepLabV3Plus(Segmenter):
    """Logits at stride 4."""

    def __init__(
        self,
        backbone: Backbone,
        n_classes: int,
        *,
        width: int,
        rates: tuple[int, ...],
        skip_width: int,
    ) -> None:
        super().__init__(backbone, n_classes, stride=DECODER_STRIDE)
        self.aspp = ASPP(backbone.channels[3], width, rates, separable=True)
        self.skip = conv_bn_relu(backbone.channels[0], skip_width, 1)
        self.decoder = nn.Sequential(
            conv_bn_relu(width + skip_width, width, 3, separable=True),
            conv_bn_relu(width, width, 3, separable=True),
        )
        self.classifier = nn.Conv2d(width, n_classes, 1)

    def decode(self, features: Features) -> Tensor:
        """The pyramid over c5, enlarged to c2 and refined beside it."""
        context = self.aspp(features.c5)
        skip = self.skip(features.c2)
        # the corners of both grids are centred on the same pixels
        context = F.interpolate(context, size=skip.shape[2:], mode="bilinear", align_corners=True)
        decoded: Tensor = self.decoder(torch.cat([context, skip], dim=1))
        return decoded


def build(
    backbone: Backbone,
    n_classes: int,
    *,
    width: int,
    rates: tuple[int, ...],
    skip_width: int,
) -> DeepLabV3Plus:
    """Build the net.

    Args:
        backbone: gives c2 and c5.
        n_classes: with the background.
        width: channels of each branch of the pyramid, of their projection and of the decoder.
        rates: dilation of the 3×3 branches; the paper's are for an output stride of 16, doubled for 8.
        skip_width: channels to which c2 is reduced.
    """
    return DeepLabV3Plus(backbone, n_classes, width=width, rates=rates, skip_width=skip_width)
