"""A backbone under the affinity head: photographs in, features out that are similar in cells of one object."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labelfactory.settings.registry import MethodConfig, choose
from models.backbones import Backbone
from models.backbones._choice import rebuild_backbone


class AffinityNetwork(nn.Module):
    """Affinity features of photographs.

    Args:
        backbone: gives features at strides 8, 16 and beyond.
        head: of the method; takes c3, c4 and c5.
        learn_backbone: whether the backbone's weights are trained too.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, *, learn_backbone: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.learn_backbone = learn_backbone
        if not learn_backbone:
            backbone.requires_grad_(False)
        self.head = head

    def train(self, mode: bool = True) -> "AffinityNetwork":
        """Set training mode; a backbone that is not trained stays in evaluation mode."""
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


def affinity_method(architecture: Mapping[str, Any]) -> MethodConfig:
    """The method of a checkpoint; an older one, which names no method, has PSA's."""
    older = {"name": "psa", **{knob: architecture[knob] for knob in ("depths", "width") if knob in architecture}}
    return choose("models.affinity", architecture.get("affinity", older))


def affinity_from(architecture: dict[str, Any], state: Mapping[str, Tensor]) -> AffinityNetwork:
    """The network of a checkpoint, in evaluation mode on the CPU."""
    net: AffinityNetwork = affinity_method(architecture).bind("build")(
        rebuild_backbone(architecture), learn_backbone=False
    )
    net.load_state_dict(dict(state))
    return net.eval()
