"""Grad-CAM: channels weighted by the mean gradient of the class score.

Source  Selvaraju et al., ICCV 2017, arXiv:1610.02391, equations 1 and 2. Deviation: the gradient is summed, not
        averaged, over positions. The factor h × w is the same for all channels of a map; with it, maps of different
        scales have one unit, and behind global average pooling Grad-CAM is CAM.
"""

import torch
from torch import Tensor

from models.cams._gradients import score_gradients
from models.classifier import Classifier


def activation_maps(classifier: Classifier, features: Tensor, class_ids: Tensor) -> Tensor:
    """ReLU(Σ_d α_d A_d): [B, K, h, w] float32 for features A [B, D, h, w] and class_ids [K]."""
    return torch.stack([_one_class(classifier, features, k) for k in class_ids], dim=1)


def _one_class(classifier: Classifier, features: Tensor, class_id: Tensor) -> Tensor:
    activation, gradient = score_gradients(classifier, features, class_id)
    weights = gradient.sum(dim=(2, 3))
    return torch.einsum("bd,bdhw->bhw", weights, activation).relu()
