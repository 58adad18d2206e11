"""Segmentation of whole images, averaged over scales and mirror images."""

from collections.abc import Sequence

import torch
from torch import Tensor

from labelfactory.errors import ShapeError
from models.grids import aligned_size, resample, resize_images
from models.segmenters._base import Segmenter


def predict(segmenter: Segmenter, images: Tensor, *, scales: Sequence[float], flip: bool) -> Tensor:
    """Mean class probabilities over scales and flips. The caller decides on evaluation mode, device and autocast.

    Every scale is resized to the nearest k × stride + 1, on which the network's grid is aligned; nothing is padded, so an
    image's result does not depend on its batch.

    Args:
        segmenter: in evaluation mode.
        images: [B, 3, H, W], RGB in [0, 255].
        scales: of the images.
        flip: also run the mirror images.

    Returns:
        [B, n_classes, H, W] float32, non-negative, summing to 1 over the classes.

    Raises:
        ShapeError: no scale is given.
    """
    if not len(scales):
        raise ShapeError("predict needs at least one scale")
    height, width = images.shape[-2:]
    total = torch.zeros(len(images), segmenter.n_classes, height, width, device=images.device)
    with torch.no_grad():
        for scale in scales:
            size = aligned_size(height, width, stride=segmenter.backbone.output_stride, scale=scale)
            batch = resize_images(images.float(), size)
            for mirrored in (False, True) if flip else (False,):
                logits = segmenter(batch.flip(3) if mirrored else batch).float()
                if mirrored:
                    logits = logits.flip(3)
                full = resample(logits, stride=segmenter.stride, image_size=size, size=(height, width))
                total += full.softmax(dim=1)
    return total / (len(scales) * (2 if flip else 1))
