"""A background threshold without a true mask: ask the classifier about its own masked photographs.

For a threshold t, a labelling cuts a photograph in two: *kept* shows only the foreground, *removed* only the rest; what is
cut away is grey. A good threshold keeps what the tags need (sufficient), removes nothing that shows them (necessary), and
is small: J(t) = p(kept) · (1 − p(removed)) · (1 − area), each averaged over the photographs before they are multiplied.
docs/decisions/0006 says what else was tried.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelfactory.errors import ShapeError
from models.classifier import Classifier
from models.grids import enlarge, resize_images

NEUTRAL = 127.0
"""Grey of what is cut away: zero after the backbones' normalisation, or close to it."""
NEAR = 0.95
"""Share of the highest J from which a threshold counts as near the peak."""


class Evidence(NamedTuple):
    """What the classifier says of one photograph cut at each of T thresholds; each [T] float64 in [0, 1]."""

    kept: NDArray[np.float64]
    """Mean probability of the tags where only the foreground is seen."""
    removed: NDArray[np.float64]
    """The same where only the rest is seen."""
    area: NDArray[np.float64]
    """The foreground's share of the photograph."""


@torch.no_grad()
def masked_evidence(
    classifier: Classifier,
    image: Tensor,
    scores: Tensor,
    class_ids: Sequence[int],
    thresholds: Sequence[float],
    *,
    size: tuple[int, int],
) -> Evidence:
    """Ask the classifier about one photograph, cut at each threshold.

    Args:
        classifier: in evaluation mode; the caller decides on device and autocast.
        image: [3, H, W], RGB in [0, 255].
        scores: [K, h, w] in [0, 1], class scores over the whole photograph, K at least 1.
        class_ids: the K classes, 0 is the first object class.
        thresholds: T background thresholds.
        size: (height, width) at which the classifier looks.

    Raises:
        ShapeError: no class, or another number of them than of score channels.
    """
    if not len(class_ids) or len(class_ids) != len(scores):
        raise ShapeError(f"{len(class_ids)} classes for {len(scores)} channels of scores")
    seen = resize_images(image[None].float(), size)
    highest = enlarge(scores[None], size)[0].amax(dim=0)
    kept, removed, area = [], [], []
    for threshold in thresholds:
        inside = (highest >= threshold).float()
        views = torch.cat([seen * inside + NEUTRAL * (1 - inside), seen * (1 - inside) + NEUTRAL * inside])
        tagged = classifier(views).float().sigmoid()[:, list(class_ids)].mean(dim=1)
        kept.append(float(tagged[0]))
        removed.append(float(tagged[1]))
        area.append(float(inside.mean()))
    return Evidence(np.array(kept), np.array(removed), np.array(area))


def best_threshold(thresholds: Sequence[float], evidence: Sequence[Evidence]) -> tuple[float, NDArray[np.float64]]:
    """The middle of the thresholds at which J over the photographs is near its highest, and J at each, [T] float64.

    J is flat around its peak, so that the peak alone is chance: the mean of all thresholds within 5 % of it is not.

    Raises:
        ShapeError: there is no photograph.
    """
    if not evidence:
        raise ShapeError("a threshold cannot be chosen from no photograph")
    kept, removed, area = (np.mean(values, axis=0) for values in zip(*evidence, strict=True))
    curve: NDArray[np.float64] = kept * (1 - removed) * (1 - area)
    near = curve >= NEAR * curve.max()
    return float(np.mean(np.asarray(thresholds)[near])), curve
