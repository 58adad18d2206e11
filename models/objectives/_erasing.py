"""Erasing what a classifier looks at: a tag drawn for each image, where its CAM lies, and the image without it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.backbones import Backbone
from models.grids import resample

EPSILON = 1e-5


def sample_tag(target: Tensor) -> Tensor:
    """One of each image's tags, at random: [B, C] of 0 and 1 of targets [B, C]; zeros for an image without tags."""
    tagged = target.any(dim=1, keepdim=True)
    chosen = torch.multinomial(torch.where(tagged, target, 1.0), 1)
    return torch.zeros_like(target).scatter_(1, chosen, 1.0) * tagged


def erasing_mask(cams: Tensor, *, stride: int, size: tuple[int, int]) -> Tensor:
    """The share by which each pixel is erased: [B, 1, *size] in [0, 1) of evidence [B, 1, h, w] on a grid of `stride`."""
    mask = resample(cams, stride=stride, image_size=size, size=size).relu()
    return mask / (mask.amax(dim=(2, 3), keepdim=True) + EPSILON)


def erase(images: Tensor, mask: Tensor, colour: Tensor) -> Tensor:
    """Images [B, 3, H, W] faded by mask [B, 1, H, W] into a colour [1, 3, 1, 1]."""
    return images + (colour - images) * mask


@contextmanager
def gradients_to_images(backbone: Backbone) -> Iterator[None]:
    """A context in which a backbone passes gradients back to its input, also through a stem that is frozen."""
    frozen, backbone.frozen = backbone.frozen, False
    try:
        yield
    finally:
        backbone.frozen = frozen
