"""PMM's read-out: CAMs smoothed the more, the more uneven they are, and a place goes to the tag for which it matters most.

Source  Li et al., ICCV 2021, "Pseudo-mask Matters in Weakly-supervised Semantic Segmentation", arXiv:2108.12995 (its abstract
        was read), and the authors' code (Eli-YiLi/PMM). Smoothing: of a CAM M divided by its maximum, values below 0.05 become
        0 and the others M ** (1 − 0.3 × v), where v is their coefficient of variation, deviation by mean. Proportion: where
        several tags claim a place, it goes to the one whose M there is the largest share of the sum of M over all places that
        this tag claims, so that a small object is not covered by a large one.
        Deviations: a tag claims a place where its smoothed CAM is above `claim` (theirs: where a CRF of each tag by itself says
        so; here the line's CRF comes later), and a place that goes to another tag has 0; it is done at each scale (theirs: on
        the sum of all); CAMs keep their height. Their training on crops and the training of the segmenter are other parts of
        their line.
"""

import torch
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.cams import cam
from models.classifier import Classifier

TINY = 1e-12


class Config(MethodConfig):
    """Knobs of `pmm`; `variation` and `least` are the authors'."""

    variation: float = Field(
        default=0.3, ge=0, le=1, description="by how much a coefficient of variation of 1 lowers the exponent"
    )
    least: float = Field(default=0.05, ge=0, lt=1, description="share of a CAM's maximum below which it is 0")
    claim: float = Field(
        default=0.3, gt=0, lt=1, description="smoothed CAM, relative to its maximum, from which on a tag claims a place"
    )


@torch.no_grad()
def activation_maps(
    classifier: Classifier, features: Tensor, class_ids: Tensor, *, variation: float, least: float, claim: float
) -> Tensor:
    """[B, K, h, w] float32, ≥ 0, for features [B, D, h, w] and class_ids [K]; each map has the height of its CAM at most."""
    evidence = cam.activation_maps(classifier, features, class_ids)
    highest = evidence.amax(dim=(2, 3), keepdim=True)
    relative = evidence / highest.clamp(min=TINY)
    maps = smoothed(relative, variation, least)
    return maps * given_to(relative, maps >= claim) * highest


def smoothed(maps: Tensor, variation: float, least: float) -> Tensor:
    """Maps [B, K, h, w] in [0, 1] to the power that the coefficient of variation of their values above `least` says."""
    inside = (maps > least).float()
    count = inside.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (maps * inside).sum(dim=(2, 3), keepdim=True) / count
    deviation = (((maps - mean).square() * inside).sum(dim=(2, 3), keepdim=True) / count).sqrt()
    exponent = (1 - variation * deviation / mean.clamp(min=TINY)).clamp(min=0)
    return torch.where(inside > 0, maps, 0.0).pow(exponent) * inside


def given_to(maps: Tensor, claims: Tensor) -> Tensor:
    """Whether a place is left to a tag: [B, K, h, w] bool of maps [B, K, h, w] in [0, 1] and the places that each tag claims.

    Among the tags that claim a place, those with the largest share are left; a place that none claims is left to all.
    """
    shares = maps / (maps * claims).sum(dim=(2, 3), keepdim=True).clamp(min=TINY) * claims
    return shares == shares.amax(dim=1, keepdim=True)  # all 0 where none claims
