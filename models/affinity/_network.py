"""A backbone under the affinity head: photographs in, features out, in which cells of one object are alike."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.affinity.psa import AffinityNet
from models.backbones import Backbone
from models.backbones._choice import rebuild_backbone


class AffinityNetwork(nn.Module):
    """Affinity features of photographs.

    Args:
        backbone: gives features at strides 8, 16 and beyond.
        depths: channels that each of the three is projected to.
        width: channels of the result.
        learn_backbone: whether the backbone's own weights learn too.
    """

    def __init__(self, backbone: Backbone, *, depths: tuple[int, int, int], width: int, learn_backbone: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.learn_backbone = learn_backbone
        if not learn_backbone:
            backbone.requires_grad_(False)
        _, c3, c4, c5 = backbone.channels
        self.head = AffinityNet((c3, c4, c5), depths=depths, width=width)

    def train(self, mode: bool = True) -> "AffinityNetwork":
        """Set training mode; a backbone that does not learn stays in evaluation mode."""
        super().train(mode)
        if not self.learn_backbone:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Features [B, width, h, w] at stride 8 of images [B, 3, H, W], RGB in [0, 255]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learn_backbone):
            features = self.backbone(images)
        out: Tensor = self.head(features.c3, features.c4, features.c5)
        return out


def finer(features: Tensor) -> Tensor:
    """Features [B, C, h, w] on a grid twice as fine, [B, C, 2 h − 1, 2 w − 1]: every second cell is one of the old."""
    height, width = features.shape[-2:]
    return F.interpolate(features, size=(2 * height - 1, 2 * width - 1), mode="bilinear", align_corners=True)


def affinity_from(architecture: dict[str, Any], state: Mapping[str, Tensor]) -> AffinityNetwork:
    """The network of a checkpoint, in evaluation mode on the CPU."""
    net = AffinityNetwork(
        rebuild_backbone(architecture),
        depths=tuple(architecture["depths"]),
        width=architecture["width"],
        learn_backbone=False,
    )
    net.load_state_dict(dict(state))
    return net.eval()
