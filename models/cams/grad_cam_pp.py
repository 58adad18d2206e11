"""Grad-CAM++: positive gradients, weighted per position so that every occurrence of the object counts.

Source  Chattopadhyay et al., WACV 2018, arXiv:1710.11063, equations 5, 10 and 19 with Y = exp(S), so that the higher
        derivatives are powers of ∂S/∂A. Deviation: the factor exp(S), the same for a whole map, is left out; it would
        let the scale with the largest score drown the others.
"""

import torch
from torch import Tensor

from models.cams._gradients import score_gradients
from models.classifier import Classifier


def activation_maps(classifier: Classifier, features: Tensor, class_ids: Tensor) -> Tensor:
    """ReLU(Σ_d w_d A_d): [B, K, h, w] float32 for features A [B, D, h, w] and class_ids [K]."""
    return torch.stack([_one_class(classifier, features, k) for k in class_ids], dim=1)


def _one_class(classifier: Classifier, features: Tensor, class_id: Tensor) -> Tensor:
    activation, gradient = score_gradients(classifier, features, class_id)
    square = gradient**2
    denominator = 2 * square + activation.sum(dim=(2, 3), keepdim=True) * gradient**3
    alpha = torch.where(denominator != 0, square / torch.where(denominator != 0, denominator, 1), 0)
    weights = (alpha * gradient.relu()).sum(dim=(2, 3))
    return torch.einsum("bd,bdhw->bhw", weights, activation).relu()
