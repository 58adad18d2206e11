"""CAM spread over positions with similar features: SEAM's pixel correlation module, without SEAM's training.

Source  Wang et al., CVPR 2020, arXiv:2004.04581, pixel correlation module: the CAM of a position becomes the mean of the CAM
        over all positions, weighted by the positive part of their features' cosine. Deviations, measured in
        docs/experiments.md: nothing is trained for it; features are the classifier's, without their component along the
        data set's mean (else all cosines are near 1); the cosine is raised to `power`, the mean is taken `rounds` times,
        and each map's minimum is subtracted. Of several tags, a position starts with its strongest alone.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.errors import ParamsError
from labelfactory.settings.registry import MethodConfig
from models.cams import cam
from models.classifier import Classifier

TINY = 1e-12


class Config(MethodConfig):
    """Knobs of `pcm`."""

    rounds: int = Field(default=3, ge=1, le=20, description="number of times that the mean is taken")
    power: int = Field(default=2, ge=1, le=16, description="of the cosine")
    most_places: int = Field(
        default=800,
        ge=16,
        le=20_000,
        description="most cells of a grid; a finer grid is halved: work grows with their square",
    )


def activation_maps(
    classifier: Classifier, features: Tensor, class_ids: Tensor, *, rounds: int, power: int, most_places: int
) -> Tensor:
    """Spread CAMs [B, K, h, w] float32, ≥ 0, for features [B, D, h, w] and class_ids [K]; each keeps its maximum.

    Raises:
        ParamsError: the classifier has no `feature_mean`.
    """
    if classifier.feature_mean.isnan().any():
        raise ParamsError(
            "extract_cams.method is pcm, which needs the mean of the features; this older classifier has none",
            "Train it again with `dvc repro --force --single-item train_classifier`, or set extract_cams.method: cam.",
        )
    evidence = cam.activation_maps(classifier, features, class_ids)
    with torch.autocast(features.device.type, enabled=False):
        common = F.normalize(classifier.feature_mean, dim=0)
        strength = torch.einsum("d,bdhw->b", common, features.float()) / features[0, 0].numel()
        own = features.float() - (strength[:, None] * common)[:, :, None, None]
        limits = (rounds, power, most_places)
        return torch.stack([_spread(one, vectors, *limits) for one, vectors in zip(evidence, own, strict=True)])


def _spread(evidence: Tensor, features: Tensor, rounds: int, power: int, most_places: int) -> Tensor:
    """Evidence [K, h, w] spread over the positions of features [D, h, w]."""
    size = height, width = evidence.shape[-2:]
    while height * width > most_places:
        height, width = -(-height // 2), -(-width // 2)
    coarse, vectors = (F.adaptive_avg_pool2d(maps, (height, width)).flatten(1) for maps in (evidence, features))
    vectors = F.normalize(vectors, dim=0)
    relative = coarse / coarse.amax(dim=1, keepdim=True).clamp(min=TINY)
    coarse = coarse * (relative == relative.amax(dim=0))
    weights = F.normalize((vectors.T @ vectors).relu_().pow_(power), p=1, dim=0)  # column j: weights for position j
    for _ in range(rounds):
        coarse = coarse @ weights
    coarse = coarse - coarse.amin(dim=1, keepdim=True)
    maps = F.interpolate(coarse.view(1, -1, height, width), size, mode="bilinear", align_corners=False)[0]
    before, after = (m.flatten(1).amax(dim=1)[:, None, None] for m in (evidence, maps))
    return maps * (before / after.clamp(min=TINY))
