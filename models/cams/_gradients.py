"""Gradients of class scores at the classifier's features."""

import torch
from torch import Tensor

from models.classifier import Classifier


def score_gradients(classifier: Classifier, features: Tensor, class_id: Tensor) -> tuple[Tensor, Tensor]:
    """Return (A, ∂S/∂A), both [B, D, h, w] float32, for the logit S of one class.

    It works under `no_grad`, `inference_mode` and autocast. Images do not mix: each logit depends on its own image.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(features.device.type, enabled=False),
    ):
        leaf = features.detach().clone().float().requires_grad_()
        score = classifier.logits(leaf)[:, class_id].sum()
        (gradient,) = torch.autograd.grad(score, leaf)
        return leaf.detach(), gradient
