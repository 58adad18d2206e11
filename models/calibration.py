"""A background threshold without true masks: the classifier scores masked photographs.

For a threshold t, a labelling splits a photograph in two: *kept* shows only the foreground, *removed* only the background;
the rest of each is grey. A good foreground is sufficient for the tags, necessary for them, and small:
J(t) = p(kept) · (1 − p(removed)) · (1 − area), each averaged over the photographs before they are multiplied.
docs/decisions/0006 lists the alternatives that were tried.
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
"""Grey of masked pixels: zero after the backbones' normalisation, or close to it."""
NEAR = 0.95
"""Share of the highest J from which a threshold counts as near the peak."""
BESIDE = 0.9
"""Share of the highest J from which a threshold counts as beside the peak."""


class Evidence(NamedTuple):
    """The classifier's scores of one photograph masked at each of T thresholds; each [T] float64 in [0, 1]."""

    kept: NDArray[np.float64]
    """Mean probability of the tags with only the foreground visible."""
    removed: NDArray[np.float64]
    """The same with only the background visible."""
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
    """Score one photograph, masked at each threshold.

    Args:
        classifier: in evaluation mode; the caller decides on device and autocast.
        image: [3, H, W], RGB in [0, 255].
        scores: [K, h, w] in [0, 1], class scores over the whole photograph, K at least 1.
        class_ids: the K classes, 0 is the first object class.
        thresholds: T background thresholds.
        size: (height, width) of the classifier's input.

    Raises:
        ShapeError: no class, or the numbers of classes and of channels differ.
    """
    if not len(class_ids) or len(class_ids) != len(scores):
        raise ShapeError(f"{len(class_ids)} classes for {len(scores)} channels of scores")
    resized = resize_images(image[None].float(), size)
    highest = enlarge(scores[None], size)[0].amax(dim=0)
    kept, removed, area = [], [], []
    for threshold in thresholds:
        inside = (highest >= threshold).float()
        views = torch.cat([resized * inside + NEUTRAL * (1 - inside), resized * (1 - inside) + NEUTRAL * inside])
        tagged = classifier(views).float().sigmoid()[:, list(class_ids)].mean(dim=1)
        kept.append(float(tagged[0]))
        removed.append(float(tagged[1]))
        area.append(float(inside.mean()))
    return Evidence(np.array(kept), np.array(removed), np.array(area))


def best_threshold(thresholds: Sequence[float], evidence: Sequence[Evidence]) -> tuple[float, NDArray[np.float64]]:
    """A threshold above the middle of the peak of J over the photographs, and J at each, [T] float64.

    J is flat around its peak, so the position of the peak itself is random; the mean of all thresholds within 5 % of it is
    stable. True masks end higher, since J asks only what is enough to name a class: halfway from that mean to the highest
    threshold within 10 % (docs/decisions/0006).

    Raises:
        ShapeError: there is no photograph.
    """
    if not evidence:
        raise ShapeError("a threshold cannot be chosen from no photograph")
    kept, removed, area = (np.mean(values, axis=0) for values in zip(*evidence, strict=True))
    curve: NDArray[np.float64] = kept * (1 - removed) * (1 - area)
    candidates = np.asarray(thresholds)
    middle = candidates[curve >= NEAR * curve.max()].mean()
    highest = candidates[curve >= BESIDE * curve.max()].max()
    return float(middle + highest) / 2, curve
