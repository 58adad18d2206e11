"""RIB: a copy of the classifier learns this photograph's tag further, without the saturating loss, from the places that tell less.

Source  Lee et al., NeurIPS 2021, arXiv:2110.06530 (its abstract was read), and the authors' code (jbeomlee93/RIB). For each
        photograph the trained classifier learns 10 steps more with the loss −logit, which a sigmoid does not flatten; the logit
        is pooled over all places, but counts those alone whose CAM is below 0.4 of its maximum. CAMs of all steps are summed. It
        ends early once logits are large, or when more than 0.7 of the photograph is above 0.3 of the CAM's maximum.
        Deviations: **the photograph is alone**; theirs learns beside it from 20 photographs of other classes in every step; each
        tag has a copy of its own, and each scale (theirs: three scales of four and all tags together); a step is as long as
        `step` says, relative to the size of the weights, in place of learning rates for one network (8e-6, and ten times that
        for the last layer), and its default is ours: on a few photographs of VOC, steps ten times as long lit whole images;
        weights before the tap c3 stay (theirs: the first two of four stages, the same); CAMs are averaged, so that a tag that
        ends early has the same height.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.classifier import Classifier

TINY = 1e-12


class Config(MethodConfig):
    """Knobs of `rib`; `iterations`, `telling`, `spread` and `spread_most` are the authors'."""

    iterations: int = Field(
        default=10, ge=1, le=100, description="CAMs that are averaged, the classifier's first; 1 is `cam`"
    )
    step: float = Field(
        default=1e-5, gt=0, le=1, description="length of a step, as a share of the length of the weights that learn"
    )
    telling: float = Field(
        default=0.4, gt=0, le=1, description="share of the CAM's maximum from which on a place is not learnt from"
    )
    margin: float = Field(default=100.0, gt=0, le=1e6, description="logit at which it ends")
    spread: float = Field(default=0.3, gt=0, lt=1, description="share of the CAM's maximum above which a place is lit")
    spread_most: float = Field(
        default=0.7, gt=0, le=1, description="it ends once more than this share of the places is lit"
    )


def image_maps(
    classifier: Classifier,
    images: Tensor,
    class_ids: Tensor,
    *,
    iterations: int,
    step: float,
    telling: float,
    margin: float,
    spread: float,
    spread_most: float,
) -> Tensor:
    """Mean CAMs [B, K, h, w] float32, ≥ 0, of images [B, 3, H, W] in [0, 255] (views of one photograph) and class_ids [K].

    The classifier itself stays as it is. It works under `no_grad`, `inference_mode` and autocast, in float32.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(images.device.type, enabled=False):
        views = images.detach().clone().float()
        knobs = (iterations, step, telling, margin, spread, spread_most)
        return torch.stack([_learn(classifier, views, int(k), *knobs) for k in class_ids], dim=1)


def _learn(
    classifier: Classifier,
    views: Tensor,
    class_id: int,
    iterations: int,
    step: float,
    telling: float,
    margin: float,
    spread: float,
    spread_most: float,
) -> Tensor:
    """The mean CAM [B, h, w] of one class over the classifier and its copies that have learnt on."""
    learner = classifier if iterations == 1 else _copy_that_learns(classifier)
    weights = [weight for weight in learner.parameters() if weight.requires_grad]
    total = torch.zeros(())
    for turn in range(iterations):
        last = turn == iterations - 1
        with torch.set_grad_enabled(not last):
            evidence = _evidence(learner, views, class_id)
        cam = evidence.detach().relu()
        total = cam if turn == 0 else total + cam
        logit = telling_less(evidence, telling).mean()
        lit = (_common(cam) > spread * _common(cam).amax()).float().mean()
        ended = not bool(cam.any()) or float(logit.detach()) > margin or (turn > 0 and float(lit) > spread_most)
        if last or ended:
            return total / (turn + 1)
        gradients = torch.autograd.grad(logit, weights, allow_unused=True)
        _climb(weights, gradients, step * (1 - turn / iterations) ** 0.9)
    return total / iterations


def _copy_that_learns(classifier: Classifier) -> Classifier:
    """A copy in evaluation mode, whose layers behind the tap c3 can learn; batch norm and what lies before do not."""
    learner = copy.deepcopy(classifier).requires_grad_(True).eval()
    learner.backbone.freeze(learner.backbone.taps[1] + 1)
    return learner


def _evidence(learner: Classifier, views: Tensor, class_id: int) -> Tensor:
    """Evidence of one class at every position, [B, h, w] float32."""
    features = learner.activation(views).float()
    return F.conv2d(features, learner.weight.float()[class_id, None, :, None, None])[:, 0]


def telling_less(evidence: Tensor, telling: float) -> Tensor:
    """[B]: evidence [B, h, w] below a share of its maximum, summed and divided by the number of all places."""
    less = evidence < telling * evidence.detach().amax(dim=(1, 2), keepdim=True)
    return (evidence * less).mean(dim=(1, 2))


@torch.no_grad()
def _climb(weights: Sequence[Tensor], gradients: Sequence[Tensor | None], share: float) -> None:
    """Move weights along their gradients by a share of their common length; those without a gradient stay."""
    moved = [(weight, gradient) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None]
    steep = torch.stack([gradient.square().sum() for _, gradient in moved]).sum().sqrt()
    length = torch.stack([weight.square().sum() for weight, _ in moved]).sum().sqrt()
    for weight, gradient in moved:
        weight += share * length / steep.clamp(min=TINY) * gradient


def _common(cam: Tensor) -> Tensor:
    """The sum [h, w] of the CAMs [B, h, w] of a photograph and, where B is 2, its mirror image."""
    return cam[0] if len(cam) == 1 else cam[0] + cam[1].flip(1)
