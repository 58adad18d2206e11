"""A background threshold without true masks, from what the classifier and the colours of photographs say.

For a threshold t, a labelling splits a photograph in two, foreground and background.

- *The classifier* sees it masked: *kept* shows only the foreground, *removed* only the background; the rest of each is grey. A good
  foreground is sufficient for the tags, necessary for them, and small: J(t) = p(kept) · (1 − p(removed)) · (1 − area), each
  averaged over the photographs before they are multiplied. It tells what names a class, not where an object ends.
- *Its colours* differ between an object and its surroundings. The share of their variance that lies between the two sides is Otsu's
  criterion (IEEE SMC 9 (1), 1979), with the class score in place of the grey value as what is thresholded. In one photograph it is
  often wrong; its mean over some hundreds is highest where true masks would put the threshold.

docs/decisions/0006 lists the alternatives that were tried.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from labelfactory.errors import ShapeError
from models.classifier import Classifier
from models.grids import enlarge, resize_images

NEUTRAL = 127.0
"""Grey of masked pixels: zero after the backbones' normalisation, or close to it."""
PLACES = 800
"""Places of a photograph at which colours are compared, about: finer detail is texture, which says nothing of objects."""
PLAUSIBLE = 0.75
"""Share of the highest J from which a threshold is plausible to the classifier."""
NEAR = 0.98
"""Share of the highest explained variance from which a threshold counts as near the peak."""


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


def curve_of_j(evidence: Sequence[Evidence]) -> NDArray[np.float64]:
    """J over the photographs at each threshold, [T] float64.

    Raises:
        ShapeError: there is no photograph.
    """
    if not evidence:
        raise ShapeError("a threshold cannot be chosen from no photograph")
    kept, removed, area = (np.mean(values, axis=0) for values in zip(*evidence, strict=True))
    curve: NDArray[np.float64] = kept * (1 - removed) * (1 - area)
    return curve


@torch.no_grad()
def explained_colours(image: Tensor, scores: Tensor, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """How much of the variance of a photograph's colours the two sides of a labelling explain, at each threshold.

    Args:
        image: [3, H, W], RGB in [0, 255].
        scores: [K, h, w] in [0, 1], class scores over the whole photograph, K at least 1.
        thresholds: T background thresholds, rising.

    Returns:
        [T] float64 in [0, 1]: the variance between the two sides' mean colours as a share of the whole; 0 where a side is empty,
        and for a photograph of one colour.
    """
    height, width = image.shape[-2:]
    shrink = min(1.0, (PLACES / (height * width)) ** 0.5)
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    highest = enlarge(scores[None].float(), (height, width)).amax(dim=1)
    pooled = F.adaptive_avg_pool2d(torch.cat([image.float(), highest]), size).flatten(1).cpu().double().numpy()
    colours, score = pooled[:3] - pooled[:3].mean(axis=1, keepdims=True), pooled[3]
    reached = np.searchsorted(np.asarray(thresholds), score, side="right")  # so many thresholds are at most the score
    inside = _reaching(np.ones(score.shape), reached, len(thresholds))
    sums = np.stack([_reaching(channel, reached, len(thresholds)) for channel in colours])
    outside = score.size - inside
    both = (inside > 0) & (outside > 0)
    between = (sums**2).sum(axis=0) / np.where(both, inside * outside, 1) * score.size
    explained: NDArray[np.float64] = np.where(both, between / max(float((colours**2).sum()), 1e-9), 0.0)
    return explained


def _reaching(values: NDArray[np.float64], reached: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Sums of values [N] over the places that reach each of the `count` thresholds."""
    sums: NDArray[np.float64] = np.bincount(reached, weights=values, minlength=count + 1)[::-1].cumsum()[::-1][1:]
    return sums


def best_threshold(
    thresholds: Sequence[float], explained: NDArray[np.float64], plausible: NDArray[np.float64]
) -> float:
    """Where the labelling explains most of the photographs' colours, among thresholds that the classifier finds plausible.

    Args:
        thresholds: T candidates.
        explained: [T] `explained_colours`, their mean over the photographs.
        plausible: [T] J at each.

    Returns:
        The middle of the plausible thresholds near the highest explained variance.
    """
    known = np.where(plausible >= PLAUSIBLE * plausible.max(), explained, -1.0)
    return float(np.asarray(thresholds)[known >= NEAR * known.max()].mean())
