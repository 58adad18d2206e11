"""LayerCAM: every position weighted by its own positive gradient.

Source  Jiang et al., IEEE TIP 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        equations 5 to 7. Deviation: times h × w, the same for a whole map, so that maps of different scales have one
        unit behind global average pooling.
"""

import torch
from torch import Tensor

from models.cams._gradients import score_gradients
from models.classifier import Classifier


def activation_maps(classifier: Classifier, features: Tensor, class_ids: Tensor) -> Tensor:
    """ReLU(Σ_d ReLU(∂S/∂A_d) A_d): [B, K, h, w] float32 for features A [B, D, h, w] and class_ids [K]."""
    return torch.stack([_one_class(classifier, features, k) for k in class_ids], dim=1)


def _one_class(classifier: Classifier, features: Tensor, class_id: Tensor) -> Tensor:
    activation, gradient = score_gradients(classifier, features, class_id)
    positions = gradient.shape[2] * gradient.shape[3]
    return (gradient.relu() * activation).sum(dim=1).relu() * positions
