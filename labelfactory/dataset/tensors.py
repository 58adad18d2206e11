"""Photographs as tensors."""

import numpy as np
import torch
from torch import Tensor

from labelfactory.dataset.images import Photograph


def to_tensor(image: Photograph) -> Tensor:
    """[H, W, 3] uint8 → [3, H, W] float32 in [0, 255], the input of every network here."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
