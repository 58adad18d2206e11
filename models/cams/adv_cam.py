"""AdvCAM: the photograph is changed until the classifier sees more of the object, and the CAMs on the way are averaged.

Source  Lee, Kim & Yoon, CVPR 2021, arXiv:2103.08896, and the authors' code (jbeomlee93/AdvCAM). Each step climbs the gradient,
        with respect to the photograph, of the tag's logit minus the other logits, minus `restraint` times the change of the CAM
        at places that are prominent already (above `prominence` of its maximum), so that their scores do not run away while
        others rise. Gradients are divided by their largest entry, pixels keep to the photograph's range. Logits are means of
        the CAMs after ReLU. A photograph and its mirror image have one common CAM for the restraint and climb together.
        Deviations: CAMs are averaged, not summed, over the steps; every scale has as many steps (the authors' smallest has
        half of them, each counted twice); the CAM is the linear layer's, which Grad-CAM equals behind average pooling; the
        step is in grey levels.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.cams._constant_weights import constant_weights
from models.classifier import Classifier

TINY = 1e-12


class Config(MethodConfig):
    """Knobs of `adv_cam`; defaults are the authors' 27, 0.08 (of a deviation of 57.6 grey levels), 7 and 0.5."""

    iterations: int = Field(
        default=27, ge=1, le=200, description="images whose CAMs are averaged, the photograph first; 1 is `cam`"
    )
    step: float = Field(default=4.6, gt=0, le=255, description="largest change of a pixel in a step, in grey levels")
    restraint: float = Field(
        default=7.0, ge=0, le=1000, description="weight of the change of the CAM at prominent places"
    )
    prominence: float = Field(
        default=0.5, ge=0, le=1, description="share of a CAM's maximum above which a place is prominent"
    )


def image_maps(
    classifier: Classifier,
    images: Tensor,
    class_ids: Tensor,
    *,
    iterations: int,
    step: float,
    restraint: float,
    prominence: float,
) -> Tensor:
    """Mean CAMs [B, K, h, w] float32, ≥ 0, of images [B, 3, H, W] in [0, 255] (views of one photograph) and class_ids [K].

    It works under `no_grad`, `inference_mode` and autocast, in float32.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        constant_weights(classifier),
        torch.autocast(images.device.type, enabled=False),
    ):
        views = images.detach().clone().float()
        knobs = (iterations, step, restraint, prominence)
        return torch.stack([_climb(classifier, views, int(k), *knobs) for k in class_ids], dim=1)


def _climb(
    classifier: Classifier,
    photograph: Tensor,
    class_id: int,
    iterations: int,
    step: float,
    restraint: float,
    prominence: float,
) -> Tensor:
    """The mean CAM [B, h, w] of one class over the photograph and its successors."""
    views, total, first = photograph, torch.zeros(()), torch.zeros(())
    for turn in range(iterations):
        last = turn == iterations - 1
        views = views.detach().requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            cams = _cams(classifier, views)
        cam = cams[:, class_id]
        total = cam.detach() if turn == 0 else total + cam.detach()
        if last:
            break
        common = _common(cam)
        if turn == 0:
            first = common.detach()
        logits = cams.mean(dim=(2, 3)).sum(dim=0)
        prominent = common.detach() > prominence * common.detach().amax()
        change = ((common - first).abs() * prominent).sum()
        goal = 2 * logits[class_id] - logits.sum() - restraint * change
        (gradient,) = torch.autograd.grad(goal, views)
        moved = views.detach() + step * gradient / gradient.abs().amax().clamp(min=TINY)
        views = moved.clamp(photograph.amin(), photograph.amax())
    return total / iterations


def _cams(classifier: Classifier, views: Tensor) -> Tensor:
    """CAMs of all classes, [B, C, h, w] float32, ≥ 0."""
    features = classifier.activation(views).float()
    return F.conv2d(features, classifier.weight.float()[:, :, None, None]).relu()


def _common(cam: Tensor) -> Tensor:
    """The sum [h, w] of the CAMs [B, h, w] of a photograph and, where B is 2, its mirror image."""
    return cam[0] if len(cam) == 1 else cam[0] + cam[1].flip(1)
