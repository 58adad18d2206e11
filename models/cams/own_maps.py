"""The maps that the network was trained to give, such as SEAM's refined CAMs; its CAMs if it gives no others."""

import torch
from torch import Tensor

from models.classifier import Classifier


@torch.no_grad()
def image_maps(classifier: Classifier, images: Tensor, class_ids: Tensor) -> Tensor:
    """[B, K, h, w] float32, ≥ 0, of images [B, 3, H, W] in [0, 255] and class_ids [K]."""
    return classifier.maps(images)[:, class_ids]
