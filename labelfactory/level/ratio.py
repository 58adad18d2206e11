"""IoU of a whole set from some audited images: a design-weighted, prediction-assisted ratio estimator with intervals.

For each class, with the predicted intersection and union f of every image and the true ones I, U of those audited (π their chance):

    Î = λ Σ f^I + Σ_audited (I − λ f^I) / π        Û likewise        IoU = Î / Û        mIoU = their mean

Whatever f says, the estimate is right on average but for the small bias of a ratio: bad predictions cost width, not truth. One λ
for all classes is chosen on the sample for the least variance of the mIoU; 0 leaves the plain design-weighted estimate.

Variances are those of the jackknife: each audited image is left out once, its stratum's others take its weight, λ and all ratios
are computed anew. The finite population counts: a set that is audited whole has no error. `labelfactory.level.interval` makes the
intervals of them, with Satterthwaite's degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.level.interval import Error, Interval, interval_of

Numbers = NDArray[np.float64]
Labels = NDArray[np.int64]

MOST_LAMBDA = 1.5
"""Larger ones come of chance."""
AT_ONCE = 64
"""Replicates that are computed together."""


@dataclass(frozen=True)
class Areas:
    """Intersection and union of masks with the truth, or as they are expected, in pixels: [images, classes] each."""

    intersection: Numbers
    union: Numbers

    def __post_init__(self) -> None:
        if self.intersection.ndim != 2 or self.intersection.shape != self.union.shape:
            raise ShapeError(f"intersections {self.intersection.shape} and unions {self.union.shape} do not fit")

    def of(self, rows: Labels) -> "Areas":
        """Those of some images."""
        return Areas(self.intersection[rows], self.union[rows])


@dataclass(frozen=True)
class Points:
    """Answers at random pixels of images without a true mask: each point's share in its image's areas, times the image's pixels.

    Attributes:
        owner: [P] the place of its image among those audited.
        areas: [P, classes]; the mean over an image's points is what `Areas` of the audited images has.
    """

    owner: Labels
    areas: Areas


@dataclass(frozen=True)
class Estimate:
    """The level of a whole set.

    Attributes:
        miou: mean over the classes with an audited image.
        iou: of each class.
        weight: λ.
        error: of the mIoU.
    """

    miou: Interval
    iou: tuple[Interval, ...]
    weight: float
    error: Error


def estimate(
    expected: Areas,
    stratum: Labels,
    audited: Labels,
    truth: Areas,
    *,
    points: Points | None = None,
    assisted: bool = True,
) -> Estimate:
    """Estimate IoU by class and mIoU of a set of images.

    Args:
        expected: of all N images; zeros where nothing is expected.
        stratum: [N] of each image; neighbours are joined where fewer than two of one were audited.
        audited: [n] which images were audited; a simple random sample of each stratum.
        truth: of these, in their order.
        points: of those that were audited at points.
        assisted: whether λ may be other than 0.

    Raises:
        ShapeError: fewer than two images were audited, or shapes do not fit.
    """
    if len(audited) < 2 or len(truth.union) != len(audited) or len(stratum) != len(expected.union):
        raise ShapeError(f"{len(audited)} audited images, areas of {len(truth.union)}")
    sample = _Sample.of(expected, joined(stratum, audited), audited, truth)
    whole = _fitted(sample, np.ones((1, len(audited))), assisted)
    iou, weight = whole.iou[0], float(whole.weight[0])
    seen = np.isfinite(iou)
    replicates = _replicates(sample, assisted)
    means = np.array([_mean(row, seen, iou) for row in replicates])
    around = np.where(np.isfinite(replicates), replicates, iou) - iou
    within, within_mean = _within(sample, points, whole, seen)
    counts = (truth.union > 0).sum(axis=0)
    classes = tuple(
        interval_of(float(iou[c]), _error(sample, around[:, c], within[c], counts[c]), int(counts[c]))
        for c in range(len(iou))
    )
    mean = _mean(iou, seen, iou)
    error = _error(sample, means - mean, within_mean, len(audited))
    return Estimate(interval_of(mean, error, len(audited)), classes, weight, error)


def joined(stratum: Labels, audited: Labels) -> Labels:
    """Strata of which at least two images were audited: neighbours are joined until they are. Returns [N], numbered from 0."""
    counts = np.bincount(stratum[audited], minlength=int(stratum.max()) + 1)
    names, group, have = np.zeros(len(counts), dtype=np.int64), 0, 0
    for label, count in enumerate(counts):
        names[label], have = group, have + count
        if have >= 2:
            group, have = group + 1, 0
    if have < 2 and group:
        names[names == group] = group - 1
    return np.unique(names[stratum], return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class _Sample:
    """What was audited, beside what was expected: n images, C classes, H strata."""

    truth: Areas
    expected: Areas  # of the audited images
    totals: Areas  # [1, C] of what is expected of all images
    member: Numbers  # [n, H] 1 where an image is of a stratum
    sizes: Numbers  # [H]

    @classmethod
    def of(cls, expected: Areas, stratum: Labels, audited: Labels, truth: Areas) -> "_Sample":
        sizes = np.bincount(stratum).astype(np.float64)
        member = np.zeros((len(audited), len(sizes)))
        member[np.arange(len(audited)), stratum[audited]] = 1.0
        totals = Areas(expected.intersection.sum(axis=0)[None], expected.union.sum(axis=0)[None])
        return cls(truth, expected.of(audited), totals, member, sizes)

    @property
    def counts(self) -> Numbers:
        """[H] audited images of each stratum."""
        counts: Numbers = self.member.sum(axis=0)
        return counts


@dataclass(frozen=True)
class _Fitted:
    """Estimates of R replicates: IoU [R, C], Û [R, C] and λ [R]."""

    iou: Numbers
    union: Numbers
    weight: Numbers


def _fitted(sample: _Sample, kept: Numbers, assisted: bool) -> _Fitted:
    """The estimates from some of the audited images: `kept` [R, n] is 1 for those that count."""
    counts = kept @ sample.member  # [R, H]
    per_image = kept * ((sample.sizes / np.maximum(counts, 1)) @ sample.member.T)
    weight = np.full(len(kept), 1.0 if assisted else 0.0)
    for _ in range(2):
        top, bottom = (_total(sample, per_image, weight, name) for name in ("intersection", "union"))
        known = bottom > 0
        iou = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=known)
        if assisted:
            weight = _least_variance(sample, kept, counts, np.nan_to_num(iou), np.where(known, bottom, np.inf))
    top, bottom = (_total(sample, per_image, weight, name) for name in ("intersection", "union"))
    plain, whole = (_total(sample, per_image, 0 * weight, name) for name in ("intersection", "union"))
    bad = (
        (bottom <= 0) | (top < 0) | (top > bottom) | (whole <= 0)
    )  # no area, or none that was seen: take what was audited
    top, bottom = np.where(bad, plain, top), np.where(bad, whole, bottom)
    return _Fitted(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0), bottom, weight)


def _total(sample: _Sample, per_image: Numbers, weight: Numbers, name: str) -> Numbers:
    """λ Σ f + Σ_audited (I − λ f) / π of each replicate, [R, C]."""
    truth, expected, totals = (getattr(areas, name) for areas in (sample.truth, sample.expected, sample.totals))
    total: Numbers = per_image @ truth + weight[:, None] * (totals - per_image @ expected)
    return total


def _least_variance(sample: _Sample, kept: Numbers, counts: Numbers, iou: Numbers, union: Numbers) -> Numbers:
    """λ of each replicate with the least variance of the mIoU, [R]: a regression within strata."""
    true, expected = (_linear(areas, iou, union).mean(axis=2) for areas in (sample.truth, sample.expected))  # [R, n]
    factor = sample.sizes**2 * (1 - counts / sample.sizes) / (np.maximum(counts, 1) * np.maximum(counts - 1, 1))
    factor = (factor @ sample.member.T) * kept
    true, expected = (
        x - ((x * kept) @ sample.member / np.maximum(counts, 1)) @ sample.member.T for x in (true, expected)
    )
    both, own = (factor * true * expected).sum(axis=1), (factor * expected**2).sum(axis=1)
    best: Numbers = np.divide(both, own, out=np.zeros(len(own)), where=own > 0).clip(0.0, MOST_LAMBDA)
    return best


def _linear(areas: Areas, iou: Numbers, union: Numbers) -> Numbers:
    """What one image adds to the ratios of R replicates, (I − IoU · U) / Û: [R, images, C]."""
    added: Numbers = (areas.intersection[None] - iou[:, None] * areas.union[None]) / union[:, None]
    return added


def _replicates(sample: _Sample, assisted: bool) -> Numbers:
    """IoU by class with each audited image left out, [n, C]."""
    n = len(sample.truth.union)
    rows = [_fitted(sample, 1.0 - np.eye(n)[i : i + AT_ONCE], assisted).iou for i in range(0, n, AT_ONCE)]
    return np.concatenate(rows)


def _mean(iou: Numbers, seen: NDArray[np.bool_], instead: Numbers) -> float:
    """The mean over the classes that were seen; a class that one left-out image alone has keeps its value."""
    return float(np.where(np.isfinite(iou), iou, instead)[seen].mean()) if seen.any() else float("nan")


def _error(sample: _Sample, around: Numbers, within: float, images: int) -> Error:
    """The error of a figure from its replicates' distances [n] to the estimate; Satterthwaite's degrees of freedom."""
    counts = sample.counts
    variance = (1 - counts / sample.sizes) * (counts - 1) / counts * (around**2 @ sample.member)
    below = float((variance**2 / np.maximum(counts - 1, 1)).sum())
    freedom = float(variance.sum()) ** 2 / below if below > 0 else float("inf")
    return Error(sample.sizes, counts, variance, float(within), min(freedom, float(images) - 1))


def _within(sample: _Sample, points: Points | None, whole: _Fitted, seen: NDArray[np.bool_]) -> tuple[Numbers, float]:
    """Variance that comes of points in place of true masks: of each class [C], and of the mean."""
    none = np.zeros(len(seen))
    if points is None or not len(points.owner):
        return none, 0.0
    union = np.where(whole.union[:1] > 0, whole.union[:1], np.inf)
    added = _linear(points.areas, np.nan_to_num(whole.iou[:1]), union)[0]  # [P, C]
    added = np.column_stack([added, added[:, seen].mean(axis=1)])
    own = (np.arange(len(sample.truth.union))[:, None] == points.owner).astype(np.float64)  # [n, P]
    count = own.sum(axis=1)[:, None]
    mean = own @ added / np.maximum(count, 1)
    spread = own @ (added - mean[points.owner]) ** 2 / np.maximum(count - 1, 1) / np.maximum(count, 1)
    variance = (sample.member @ (sample.sizes / sample.counts)) @ spread
    return variance[:-1], float(variance[-1])
