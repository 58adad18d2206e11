"""LPCAM: likeness to the kinds of places that an object is made of, less the likeness to its context; here of one photograph.

Source  Chen & Sun, CVPR 2023, "Extracting Class Activation Maps from Non-Discriminative Features as well", arXiv:2303.10334,
        and the authors' code (zhaozhengChen/LPCAM): features at places whose CAM is above `foreground` are clustered, and so
        are the others; prototypes are the centres of the former that the classifier gives to the class (softmax over classes
        above `sure`), contexts those of the latter that it gives to it neither surely nor not at all (`unlikely` to `sure`). The
        map is the mean cosine to the prototypes less the mean cosine to the contexts, at least 0.
        Deviations: **prototypes are of the photograph itself, not of all photographs of the class**, since a read-out is given
        one photograph: a part that this photograph's CAM misses is found if it looks like a part that the CAM has, and
        not because other photographs show it. Clustering starts at the place with the highest CAM and goes on to the
        farthest from all centres, so nothing is drawn; features are less the photograph's mean (else all cosines are near 1);
        without a sure prototype the surest is taken; the map has the height of the CAM.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.cams import cam
from models.classifier import Classifier

TINY = 1e-12
ALIKE = 1 - 1e-6
"""Cosine above which two places are of one kind."""


class Config(MethodConfig):
    """Knobs of `lpcam`; all defaults but `rounds` are the authors', who cluster until centres stay."""

    clusters: int = Field(default=12, ge=1, le=100, description="kinds of places, of the object and of the rest")
    foreground: float = Field(
        default=0.1, ge=0, le=1, description="share of a CAM's maximum above which a place is clustered"
    )
    sure: float = Field(default=0.9, ge=0, le=1, description="softmax of the class above which a centre is a prototype")
    unlikely: float = Field(
        default=0.05, ge=0, le=1, description="softmax of the class below which a centre is no context"
    )
    rounds: int = Field(default=10, ge=1, le=100, description="rounds of the clustering")


@torch.no_grad()
def activation_maps(
    classifier: Classifier,
    features: Tensor,
    class_ids: Tensor,
    *,
    clusters: int,
    foreground: float,
    sure: float,
    unlikely: float,
    rounds: int,
) -> Tensor:
    """Likeness to prototypes: [B, K, h, w] float32, ≥ 0, for features [B, D, h, w] and class_ids [K].

    Each map has the maximum of its CAM.
    """
    evidence = cam.activation_maps(classifier, features, class_ids)
    weights = classifier.weight.float()
    maps = torch.zeros_like(evidence)
    with torch.autocast(features.device.type, enabled=False):
        for view, (cams, raw) in enumerate(zip(evidence, features.float(), strict=True)):
            vectors = raw.flatten(1).T  # [N, D]
            common = vectors.mean(dim=0)
            places = vectors - common
            for channel, (plain, class_id) in enumerate(zip(cams.flatten(1), class_ids, strict=True)):
                if plain.amax() <= 0:
                    continue
                inside = plain > foreground * plain.amax()
                kinds = [
                    _centres(places[part], plain[part], clusters, rounds)
                    for part in (inside, ~inside)
                    if bool(part.any())
                ]
                shares = [((centres + common) @ weights.T).softmax(dim=1)[:, class_id] for centres in kinds]
                chosen = shares[0] > sure if bool((shares[0] > sure).any()) else shares[0] == shares[0].amax()
                likeness = _likeness(places, kinds[0][chosen])
                if len(kinds) > 1:
                    context = (shares[1] > unlikely) & (shares[1] < sure)
                    likeness = likeness - _likeness(places, kinds[1][context]) if bool(context.any()) else likeness
                likeness = likeness.relu()
                height = plain.amax() / likeness.amax().clamp(min=TINY)
                maps[view, channel] = (likeness * height).view_as(cams[channel])
    return maps


def _likeness(places: Tensor, centres: Tensor) -> Tensor:
    """The mean cosine [N] of places [N, D] to centres [M, D]."""
    return (F.normalize(places, dim=1) @ F.normalize(centres, dim=1).T).mean(dim=1)


def _centres(places: Tensor, evidence: Tensor, clusters: int, rounds: int) -> Tensor:
    """Centres [≤ clusters, D] of places [N, D] by cosine; evidence [N] says where to start."""
    directions = F.normalize(places, dim=1)
    seeds = [int(evidence.argmax())]
    nearest = directions @ directions[seeds[0]]
    while len(seeds) < clusters and float(nearest.amin()) < ALIKE:
        seeds.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, directions @ directions[seeds[-1]])
    centres = places[seeds]
    for _ in range(rounds):
        members = F.one_hot((directions @ F.normalize(centres, dim=1).T).argmax(dim=1), len(seeds)).to(places.dtype)
        sizes = members.sum(dim=0)[:, None]
        centres = torch.where(sizes > 0, members.T @ places / sizes.clamp(min=1), centres)
    return centres
