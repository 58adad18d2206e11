"""Region-CAM: what the class's gradients say at every stage of the network, spread over places with that stage's like features.

Source  Cai & Abhayaratne 2025, "Region-CAM: Towards Accurate Object Regions in Class Activation Maps for Weakly Supervised
        Learning Tasks", arXiv:2510.25134. Only its abstract was read, and a summary by others: gradients do not weigh the
        features; at each stage a *semantic information map* is the sum over channels of the positive part of the logit's
        gradient, and *semantic information propagation* spreads it by the stage's features. The rest is ours: spreading is the
        mean over all places, weighted by a power of the positive part of the cosine of their features, less the photograph's
        mean (as in `pcm`); the CAM, spread by the classifier's features, counts as one more stage, since behind average
        pooling the last gradients are the same everywhere; each stage's map, less its minimum, is divided by its maximum;
        maps of stages are averaged, on the grid of the classifier, and have the height of the CAM.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.backbones import Features
from models.cams import cam
from models.cams._constant_weights import constant_weights
from models.cams._places import MostPlaces, halved
from models.classifier import Classifier

TINY = 1e-12
EVEN = 1e-3
"""A stage's map that differs by less than this share of its maximum tells no places apart: it is not stretched to [0, 1]."""


class Config(MethodConfig):
    """Knobs of `region_cam`; the defaults are ours, `power` and `most_places` those of `pcm`."""

    power: int = Field(default=2, ge=1, le=16, description="of the cosine")
    most_places: MostPlaces = 800


def image_maps(classifier: Classifier, images: Tensor, class_ids: Tensor, *, power: int, most_places: int) -> Tensor:
    """[B, K, h, w] float32, ≥ 0, of images [B, 3, H, W] in [0, 255] (views of one photograph) and class_ids [K].

    It works under `no_grad`, `inference_mode` and autocast, in float32.
    """
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        constant_weights(classifier),
        torch.autocast(images.device.type, enabled=False),
    ):
        stages, features = _forward(classifier, images.detach().clone().float().requires_grad_())
        logits = classifier.logits(features)
        gradients = [torch.autograd.grad(logits[:, k].sum(), stages, retain_graph=True) for k in class_ids]
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        evidence = cam.activation_maps(classifier, features, class_ids)
        size = (evidence.shape[-2], evidence.shape[-1])
        coarse = halved(size, most_places)
        total = _stage_map(evidence, features, coarse, power)
        for index, stage in enumerate(stages):
            information = torch.stack([of_class[index].relu().sum(dim=1) for of_class in gradients], dim=1)
            total = total + _stage_map(information, stage, coarse, power)
        maps = F.interpolate(total, size, mode="bilinear", align_corners=False)
        before, after = (m.amax(dim=(2, 3), keepdim=True) for m in (evidence, maps))
        return maps * (before / after.clamp(min=TINY))


def _forward(classifier: Classifier, images: Tensor) -> tuple[Features, Tensor]:
    """The outputs of the backbone's stages, and the classifier's features."""
    outputs: list[Features] = []
    hook = classifier.backbone.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        features = classifier.activation(images)
    finally:
        hook.remove()
    return outputs[0], features.float()


def _stage_map(information: Tensor, features: Tensor, size: tuple[int, int], power: int) -> Tensor:
    """Information [B, K, h', w'] spread over the places of features [B, D, h', w'] of one stage: [B, K, *size] in [0, 1]."""
    spread = [_spread(one, vectors, size, power) for one, vectors in zip(information, features, strict=True)]
    return torch.stack(spread)


def _spread(information: Tensor, features: Tensor, size: tuple[int, int], power: int) -> Tensor:
    """One view: [K, h', w'] and [D, h', w'] to [K, *size] in [0, 1]."""
    flat, vectors = (F.adaptive_avg_pool2d(maps, size).flatten(1) for maps in (information, features.float()))
    vectors = F.normalize(vectors - vectors.mean(dim=1, keepdim=True), dim=0)
    weights = F.normalize((vectors.T @ vectors).relu().pow(power), p=1, dim=0)  # column j: weights for place j
    flat = (flat / flat.amax(dim=1, keepdim=True).clamp(min=TINY)) @ weights
    flat = flat - flat.amin(dim=1, keepdim=True)
    return (flat / flat.amax(dim=1, keepdim=True).clamp(min=EVEN)).view(-1, *size)
