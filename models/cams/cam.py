"""CAM: the classifier's last layer applied at every position.

Source  Zhou et al., CVPR 2016, arXiv:1512.04150.
"""

import torch
from torch import Tensor

from models.classifier import Classifier


def activation_maps(classifier: Classifier, features: Tensor, class_ids: Tensor) -> Tensor:
    """ReLU(Σ_d w_kd A_d): [B, K, h, w] float32 for features A [B, D, h, w] and class_ids [K]."""
    with torch.autocast(features.device.type, enabled=False):
        weights = classifier.weight[class_ids].float()
        return torch.einsum("kd,bdhw->bkhw", weights, features.float()).relu()
