"""A small classifier with random weights, photographs of smooth noise, and their CAMs by each method."""

import functools
from typing import Any

import torch
from torch import Tensor, nn

from models.backbones import build_backbone
from models.cams import multiscale_cams
from models.classifier import Classifier

METHODS = ["cam", "grad_cam", "grad_cam_pp", "layer_cam", "lpcam", "pcm", "pmm", "soft_proposal"]
"""Those that read features."""
OF_PHOTOGRAPHS = ["adv_cam", "region_cam", "rib"]
"""Those that read the photograph; so does own_maps."""
EVERY = [*METHODS, *OF_PHOTOGRAPHS]
SHORT: dict[str, Any] = {
    "adv_cam": {"name": "adv_cam", "iterations": 3},
    "rib": {"name": "rib", "iterations": 3, "step": 2e-3},
}
"""Methods that are long, made short for the laws."""
C = 4


@functools.cache
def classifier(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    net = Classifier(build_backbone("tiny", output_stride=16, state=None, pretrained=False), C)
    nn.init.normal_(net.classifier.weight, std=0.3)
    with torch.no_grad():
        means = [net.activation(photograph(size, size, size)[None]).mean(dim=(0, 2, 3)) for size in range(17, 97, 8)]
        net.feature_mean.copy_(torch.stack(means).mean(dim=0))
    return net.eval()


def photograph(height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth noise, [3, H, W] in [0, 255]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 9, 9, generator=generator) * 255
    return nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 255)[0]


def features(seed: int = 0, batch: int = 2) -> Tensor:
    """Non-negative, as after a ReLU: [B, 96, 5, 6]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 96, 5, 6, generator=generator).relu()


def cams(images: list[Tensor], ids: list[list[int]], method: str = "cam", flip: bool = True, **kwargs) -> list[Tensor]:
    settings = {"scales": (1.0, 0.5), "flip": flip} | kwargs
    chosen = SHORT.get(method, method)
    return multiscale_cams(classifier(), chosen, images, class_ids=[torch.tensor(i) for i in ids], **settings)
