"""Soft proposals: CAM times a map of what stands out, the limit of a random walk between places that differ.

Source  Zhu et al., ICCV 2017, "Soft Proposal Networks for Weakly Supervised Object Localization", arXiv:1709.01829, and the
        authors' code (ZhouYanzhao/SPN): a walk goes from place to place in proportion to the Euclidean distance of their
        features times a Gaussian of their distance on the grid; where it ends up is the proposal, which multiplies all
        channels of the features. Deviations: the paper trains the network with this product, here a trained network is read
        with it (so it multiplies the CAM); weights are symmetric, so the limit of the walk is each place's sum of weights
        (Lovász 1993, "Random walks on graphs"), which is computed in place of 20 steps of the walk; the proposal has the
        mean 1, not the sum 1, so that maps of different scales have one unit; `reach` is a share of the grid's longer side
        (the code's 0.15 counts the number of cells, which makes the Gaussian all but flat).
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from labelfactory.settings.registry import MethodConfig
from models.cams import cam
from models.cams._places import MostPlaces, halved
from models.classifier import Classifier

EQUAL = 1e-10
"""Squared distances below this share of the largest squared norm are rounding."""


class Config(MethodConfig):
    """Knobs of `soft_proposal`; 0.15 is the authors' number, `most_places` is that of `pcm`."""

    reach: float = Field(
        default=0.15, gt=0, le=10, description="deviation of the Gaussian, as a share of the grid's longer side"
    )
    most_places: MostPlaces = 800


def activation_maps(
    classifier: Classifier, features: Tensor, class_ids: Tensor, *, reach: float, most_places: int
) -> Tensor:
    """CAM × proposal: [B, K, h, w] float32, ≥ 0, for features [B, D, h, w] and class_ids [K]."""
    evidence = cam.activation_maps(classifier, features, class_ids)
    with torch.autocast(features.device.type, enabled=False):
        proposals = torch.stack([proposal_map(view.float(), reach, most_places) for view in features])
        return evidence * proposals[:, None]


def proposal_map(features: Tensor, reach: float, most_places: int) -> Tensor:
    """[h, w] float32 with the mean 1 (on the halved grid, where it is halved) for features [D, h, w]."""
    size = (features.shape[-2], features.shape[-1])
    height, width = halved(size, most_places)
    places = F.adaptive_avg_pool2d(features, (height, width)).flatten(1).T.double()  # [N, D]
    places = places - places.mean(dim=0)
    lengths = places.square().sum(dim=1)
    squares = lengths[:, None] + lengths - 2 * places @ places.T
    differences = torch.where(squares > EQUAL * lengths.amax(), squares, 0).sqrt()
    strength = (differences * _nearness(height, width, reach, places)).sum(dim=1)
    total = strength.sum()
    proposal = strength * (len(strength) / total) if total > 0 else torch.ones_like(strength)
    coarse = proposal.float().view(1, 1, height, width)
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False)[0, 0]


def _nearness(height: int, width: int, reach: float, like: Tensor) -> Tensor:
    """The Gaussian [N, N] of the distance between any two cells of a grid."""
    rows, columns = (torch.arange(side, device=like.device, dtype=like.dtype) for side in (height, width))
    deviation = reach * max(height, width)
    down, across = (torch.exp(-((line[:, None] - line) ** 2) / (2 * deviation**2)) for line in (rows, columns))
    return torch.kron(down, across)
