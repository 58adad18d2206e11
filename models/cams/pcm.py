"""CAM spread over places that look alike to the network: SEAM's pixel correlation module, without SEAM's training.

Source  Wang et al., CVPR 2020, arXiv:2004.04581, pixel correlation module: a place's evidence is the mean of all places'
        evidence, weighted by the positive part of their features' cosine. Deviations, measured in docs/experiments.md:
        nothing is trained for it; features are those of the classifier, less what the photograph's have in common with
        the data set's (else all cosines are near 1); the cosine is raised to `power`, the mean is taken `rounds` times,
        and the least evidence is taken off. Of several tags, a place starts with the evidence of the strongest alone.
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

    rounds: int = Field(default=3, ge=1, le=20, description="how often the mean is taken")
    power: int = Field(default=2, ge=1, le=16, description="of the cosine")
    most_places: int = Field(
        default=800, ge=16, le=20_000, description="of a grid; a finer one is halved: work grows with its square"
    )


def activation_maps(
    classifier: Classifier, features: Tensor, class_ids: Tensor, *, rounds: int, power: int, most_places: int
) -> Tensor:
    """CAMs [B, K, h, w] float32, ≥ 0, for features [B, D, h, w] and class_ids [K], spread; each as high as it was.

    Raises:
        ParamsError: the classifier does not know the mean of its features.
    """
    if classifier.feature_mean.isnan().any():
        raise ParamsError(
            "extract_cams.method is pcm, for which this classifier was trained too early",
            "Train it again with `dvc repro --force --single-item train_classifier`, or set extract_cams.method: cam.",
        )
    evidence = cam.activation_maps(classifier, features, class_ids)
    with torch.autocast(features.device.type, enabled=False):
        common = F.normalize(classifier.feature_mean, dim=0)
        strength = torch.einsum("d,bdhw->b", common, features.float()) / features[0, 0].numel()
        own = features.float() - (strength[:, None] * common)[:, :, None, None]
        limits = (rounds, power, most_places)
        return torch.stack([_spread(one, places, *limits) for one, places in zip(evidence, own, strict=True)])


def _spread(evidence: Tensor, features: Tensor, rounds: int, power: int, most_places: int) -> Tensor:
    """Evidence [K, h, w] spread over the places of features [D, h, w]."""
    size = height, width = evidence.shape[-2:]
    while height * width > most_places:
        height, width = -(-height // 2), -(-width // 2)
    coarse, places = (F.adaptive_avg_pool2d(maps, (height, width)).flatten(1) for maps in (evidence, features))
    places = F.normalize(places, dim=0)
    relative = coarse / coarse.amax(dim=1, keepdim=True).clamp(min=TINY)
    coarse = coarse * (relative == relative.amax(dim=0))
    weights = F.normalize((places.T @ places).relu_().pow_(power), p=1, dim=0)  # column j: of each place, for place j
    for _ in range(rounds):
        coarse = coarse @ weights
    coarse = coarse - coarse.amin(dim=1, keepdim=True)
    maps = F.interpolate(coarse.view(1, -1, height, width), size, mode="bilinear", align_corners=False)[0]
    highest, now = (m.flatten(1).amax(dim=1)[:, None, None] for m in (evidence, maps))
    return maps * (highest / now.clamp(min=TINY))
