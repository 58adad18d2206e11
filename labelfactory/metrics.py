"""mIoU from one confusion matrix, and average precision of tags.

Convention: IoU per class over the whole split; a class absent from both truth and prediction is left out of the mean;
predicted but absent from the truth counts 0. Fractions, not per cent.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from labelfactory.errors import ShapeError
from labelfactory.schema import VOID, Mask


class Confusion:
    """Counts of pixels: ``counts[t, p]`` have true class t and predicted class p. True void is not counted.

    A pixel that is predicted void where the truth is class t misses that class: it is counted in ``undecided[t]``.
    """

    def __init__(self, n_classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((n_classes, n_classes), dtype=np.int64)
        self.undecided: NDArray[np.int64] = np.zeros(n_classes, dtype=np.int64)

    def add(self, truth: Mask, prediction: Mask) -> None:
        """Count one image.

        Args:
            truth: [H, W] uint8 class ids, 255 void.
            prediction: [H, W] uint8 class ids, 255 void.

        Raises:
            ShapeError: the two differ in size, or a value is not a class.
        """
        if truth.shape != prediction.shape:
            raise ShapeError(f"truth {truth.shape} and prediction {prediction.shape} differ in size")
        n = len(self.counts)
        known = truth != VOID
        t, p = truth[known].astype(np.int64), prediction[known].astype(np.int64)
        if t.size and (t.max() >= n or p[p != VOID].max(initial=0) >= n):
            raise ShapeError(f"a mask contains a class above {n - 1}")
        decided = p != VOID
        self.counts += np.bincount(t[decided] * n + p[decided], minlength=n * n).reshape(n, n)
        self.undecided += np.bincount(t[~decided], minlength=n)

    def cells(self) -> NDArray[np.uint32]:
        """True class, predicted class (255: void) and pixels of each pair that occurs, sorted, [n, 3]: kept of each image."""
        whole = np.column_stack([self.counts, self.undecided])
        truth, column = np.nonzero(whole)
        predicted = np.array([*range(len(self.counts)), VOID])[column]
        return np.stack([truth, predicted, whole[truth, column]], axis=1).astype(np.uint32)

    def iou(self) -> NDArray[np.float64]:
        """IoU of each class, [n] float64; NaN where the class is absent from both truth and prediction."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) + self.undecided - hits
        iou: NDArray[np.float64] = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
        return iou

    def miou(self) -> float:
        """Mean IoU over the classes that occur in truth or prediction; NaN when nothing was counted."""
        iou = self.iou()
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else float("nan")


def average_precision(targets: Sequence[bool] | NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Average precision of one tag: area under the precision-recall curve as a sum over the positives, ties in one step.

    Args:
        targets: [N] whether the image has the tag.
        scores: [N] higher is more likely.

    Returns:
        A fraction; NaN when no image has the tag.
    """
    truth = np.asarray(targets, dtype=bool)
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    sorted_scores, sorted_truth = scores[order], truth[order]
    ends = np.r_[np.flatnonzero(np.diff(sorted_scores)), len(truth) - 1]
    hits = np.cumsum(sorted_truth)[ends]
    precision = hits / (ends + 1)
    gained = np.diff(np.r_[0, hits])
    return float((precision * gained).sum() / truth.sum())


class ThresholdCurve:
    """mIoU of a labelling at every background threshold 0.00, 0.01 … 1.00, from one pass over the images.

    The best class of a pixel does not depend on the threshold, so counting (true class, best class, score) is enough.
    """

    BINS = 100

    def __init__(self, n_classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((n_classes, n_classes, self.BINS + 1), dtype=np.int64)

    def add(self, truth: Mask, best: Mask, score: NDArray[np.floating]) -> None:
        """Count one image.

        Args:
            truth: [H, W] uint8 class ids, 255 void.
            best: [H, W] uint8, the best foreground class of each pixel; anything where the score is 0.
            score: [H, W] its score in [0, 1].

        Raises:
            ShapeError: the three differ in size, or a value is not a class.
        """
        if not truth.shape == best.shape == score.shape:
            raise ShapeError(f"truth {truth.shape}, best {best.shape} and score {score.shape} differ in size")
        n, known = len(self.counts), truth != VOID
        if max(truth[known].max(initial=0), best[known].max(initial=0)) >= n:
            raise ShapeError(f"a mask contains a class above {n - 1}")
        exact = score[known].astype(np.float64)  # float16 times 100 would round over the next threshold
        level = np.clip(np.floor(exact * self.BINS + 1e-4), 0, self.BINS).astype(np.int64)
        index = (truth[known].astype(np.int64) * n + best[known]) * (self.BINS + 1) + level
        self.counts += np.bincount(index, minlength=self.counts.size).reshape(self.counts.shape)

    def confusion_at(self, threshold: float) -> Confusion:
        """The confusion matrix where scores of at least `threshold`, rounded to 0.01, are foreground."""
        cut = round(threshold * self.BINS)
        confusion = Confusion(len(self.counts))
        confusion.counts = self.counts[:, :, cut:].sum(axis=2)
        confusion.counts[:, 0] += self.counts[:, :, :cut].sum(axis=(1, 2))
        return confusion

    def best_pair(self, background: float, foreground: float) -> tuple[tuple[float, float], float]:
        """The best pair of thresholds of a labelling with void between them.

        Args:
            background: scores below it, rounded to 0.01, are background.
            foreground: scores of at least it are the best class.

        Returns:
            Of all pairs that label no fewer pixels, the one with the highest mIoU over the pixels that it labels (an oracle's
            choice), and by how much its mIoU exceeds that of the given pair, each over the pixels that it labels.
        """
        cuts = np.arange(1, self.BINS)
        above = self.counts[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, cuts]  # [truth, best, cut]
        below = self.counts.sum(axis=1).cumsum(axis=1)[:, cuts - 1]  # [truth, cut]
        hits = np.repeat(np.einsum("kkc->kc", above)[:, None], len(cuts), axis=1)  # [class, background, foreground]
        hits[0] += below[0][:, None]
        truth = above.sum(axis=1)[:, None] + below[:, :, None]
        labelled = np.repeat(above.sum(axis=0)[:, None], len(cuts), axis=1)
        labelled[0] += below.sum(axis=0)[:, None]
        union = truth + labelled - hits
        iou = np.divide(hits, union, out=np.zeros(union.shape), where=union > 0)
        miou = iou.sum(axis=0) / np.maximum((union > 0).sum(axis=0), 1)
        given = tuple(int(np.clip(round(t * self.BINS), 1, self.BINS - 1)) - 1 for t in (background, foreground))
        enough = truth.sum(axis=0) >= truth[:, given[0], given[1]].sum()
        ordered = cuts[:, None] <= cuts[None]
        low, high = np.unravel_index(np.where(enough & ordered, miou, -1.0).argmax(), miou.shape)
        return (float(cuts[low] / self.BINS), float(cuts[high] / self.BINS)), float(miou[low, high] - miou[given])

    def curve(self) -> tuple[list[float], list[float]]:
        """Thresholds and the mIoU at each."""
        thresholds = [k / self.BINS for k in range(1, self.BINS)]
        return thresholds, [self.confusion_at(t).miou() for t in thresholds]

    def best(self) -> tuple[float, float]:
        """The threshold of the highest mIoU, and that mIoU: an oracle's choice, for comparison only."""
        thresholds, values = self.curve()
        top = int(np.nanargmax(values))
        return thresholds[top], values[top]
