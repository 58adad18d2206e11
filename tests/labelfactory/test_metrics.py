"""mIoU, the threshold curve and average precision: laws, examples by hand, references in plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from strategies import labelled_pairs, masks

from labelfactory.errors import ShapeError
from labelfactory.metrics import Confusion, ThresholdCurve, average_precision
from labelfactory.schema import VOID

N = 4


def confusion(truth: np.ndarray, prediction: np.ndarray, n_classes: int = N) -> Confusion:
    made = Confusion(n_classes)
    made.add(truth, prediction)
    return made


def loop_iou(pairs: list[tuple[np.ndarray, np.ndarray]], n_classes: int = N) -> list[float]:
    """Reference: pixel by pixel, class by class, over all images."""
    pixels = [
        (int(t), int(p)) for truth, made in pairs for t, p in zip(truth.flat, made.flat, strict=True) if t != VOID
    ]
    ious = []
    for c in range(n_classes):
        both = sum(t == c and p == c for t, p in pixels)
        either = sum(t == c or p == c for t, p in pixels)
        ious.append(both / either if either else math.nan)
    return ious


@given(pairs=st.lists(labelled_pairs(), min_size=1, max_size=3))
def test_iou_is_that_of_all_pixels_together(pairs):
    """One matrix over the images, not a mean of images; the order of images does not matter."""
    made, reverse = Confusion(N), Confusion(N)
    for pair in pairs:
        made.add(*pair)
    for pair in reversed(pairs):
        reverse.add(*pair)
    expected = loop_iou(pairs)
    assert np.allclose(made.iou(), expected, equal_nan=True)
    assert np.array_equal(made.iou(), reverse.iou(), equal_nan=True)
    present = [v for v in expected if not math.isnan(v)]
    assert made.miou() == pytest.approx(sum(present) / len(present)) if present else math.isnan(made.miou())


@given(mask=masks(N))
def test_a_mask_agrees_with_itself(mask):
    """mIoU(x, x) = 1; void alone is nothing."""
    value = confusion(mask, mask).miou()
    assert math.isnan(value) if (mask == VOID).all() else value == 1.0


@given(pair=labelled_pairs(), data=st.data())
def test_what_is_predicted_under_void_does_not_count(pair, data):
    """Anything at all may stand there."""
    truth, prediction = pair
    other = prediction.copy()
    other[truth == VOID] = data.draw(st.integers(0, 255))
    first, second = confusion(truth, prediction), confusion(truth, other)
    assert np.array_equal(first.counts, second.counts)
    assert np.array_equal(first.undecided, second.undecided)


def test_two_by_two_by_hand():
    """One void pixel; class 3 in neither; class 2 predicted but absent counts 0."""
    truth = np.array([[0, 1], [1, VOID]], dtype=np.uint8)
    prediction = np.array([[0, 1], [2, 3]], dtype=np.uint8)
    made = confusion(truth, prediction)
    assert made.counts.tolist() == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert made.iou()[:3].tolist() == [1.0, 0.5, 0.0]
    assert math.isnan(made.iou()[3])
    assert made.miou() == pytest.approx(0.5)


def test_a_pixel_left_void_misses_its_class():
    """A labeller that abstains does not raise its score."""
    truth = np.array([[1, 1]], dtype=np.uint8)
    made = confusion(truth, np.array([[1, VOID]], dtype=np.uint8))
    assert made.iou()[1] == 0.5
    assert math.isnan(made.iou()[0])
    assert confusion(truth, np.array([[VOID, VOID]], dtype=np.uint8)).miou() == 0.0


@pytest.mark.parametrize(
    ("truth", "prediction"), [([[0, 4]], [[0, 0]]), ([[0, 0]], [[0, 4]]), ([[0, 0]], [[0], [0]]), ([[0]], [[0, 0]])]
)
def test_sizes_and_classes_must_fit(truth, prediction):
    """Nothing is counted into another class's cell."""
    with pytest.raises(ShapeError):
        confusion(np.array(truth, np.uint8), np.array(prediction, np.uint8))


SCORES = st.integers(0, 1000).map(lambda k: k / 1000)


@settings(deadline=None)
@given(
    truth=masks(N, max_side=4),
    data=st.data(),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    threshold=st.integers(0, 100).map(lambda k: k / 100),
)
def test_the_threshold_curve_is_the_confusion_at_each_threshold(truth, data, dtype, threshold):
    """Counting once gives what labelling again at the threshold gives."""
    best = data.draw(npst.arrays(np.uint8, truth.shape, elements=st.integers(1, N - 1)))
    score = data.draw(npst.arrays(np.float64, truth.shape, elements=SCORES)).astype(dtype)
    curve = ThresholdCurve(N)
    curve.add(truth, best, score)
    direct = confusion(truth, np.where(score.astype(np.float64) >= threshold - 1e-6, best, 0).astype(np.uint8))
    assert np.array_equal(curve.confusion_at(threshold).counts, direct.counts)


def test_a_half_precision_score_stays_below_its_threshold():
    """0.6997 in float16, times 100 in float16, is 70."""
    curve = ThresholdCurve(2)
    score = np.array([[0.69970703125]], dtype=np.float16)
    curve.add(np.array([[1]], np.uint8), np.array([[1]], np.uint8), score)
    assert curve.confusion_at(0.69).counts.tolist() == [[0, 0], [0, 1]]
    assert curve.confusion_at(0.70).counts.tolist() == [[0, 0], [1, 0]]


def test_the_best_threshold_by_hand():
    """Two pixels of class 1 at 0.8 and 0.6, one of the background at 0.4: anything in (0.4, 0.6] is perfect."""
    curve = ThresholdCurve(2)
    curve.add(
        np.array([[1, 1, 0, VOID]], np.uint8), np.array([[1, 1, 1, 1]], np.uint8), np.array([[0.8, 0.6, 0.4, 1.0]])
    )
    assert curve.best() == (0.41, 1.0)
    thresholds, values = curve.curve()
    assert (thresholds[0], thresholds[-1], len(values)) == (0.01, 0.99, 99)
    assert values[thresholds.index(0.6)] == 1.0
    assert values[thresholds.index(0.61)] == pytest.approx(0.5)
    assert values[thresholds.index(0.4)] == pytest.approx(1 / 3)


def labelled(truth: np.ndarray, best: np.ndarray, score: np.ndarray, low: float, high: float) -> tuple[int, float]:
    """Reference: how many known pixels two thresholds label, and the mIoU over those alone."""
    label = np.where(score >= high, best, np.where(score < low, 0, VOID)).astype(np.uint8)
    made = confusion(np.where(label == VOID, VOID, truth).astype(np.uint8), label)
    return int(made.counts.sum()), made.miou()


CUTS = (0.2, 0.4, 0.6, 0.8)
"""One between each two of the scores 0, 0.25 … 1: every labelling that there is."""


@settings(deadline=None)
@given(
    truth=masks(N, max_side=4),
    data=st.data(),
    chosen=st.lists(st.sampled_from(CUTS), min_size=2, max_size=2).map(sorted),
)
def test_no_pair_that_labels_as_much_is_better_than_the_best(truth, data, chosen):
    """Every pair tried in a loop; what the given one loses is the difference."""
    best = data.draw(npst.arrays(np.uint8, truth.shape, elements=st.integers(1, N - 1)))
    score = data.draw(npst.arrays(np.int64, truth.shape, elements=st.integers(0, 4))) / 4
    curve = ThresholdCurve(N)
    curve.add(truth, best, score)
    pixels, own = labelled(truth, best, score, *chosen)
    (low, high), cost = curve.best_pair(*chosen)
    assert low <= high
    count, found = labelled(truth, best, score, low, high)
    assert count >= pixels
    tried = [labelled(truth, best, score, low, high) for low in CUTS for high in CUTS if low <= high]
    if pixels:
        assert found == pytest.approx(max(miou for n, miou in tried if n >= pixels))
        assert cost == pytest.approx(found - own)


def test_the_best_pair_by_hand():
    """An object at 0.5 that is none: who may leave a pixel void leaves this one, from whatever pair of as many pixels."""
    curve = ThresholdCurve(2)
    curve.add(np.array([[1, 0, 0, 0]], np.uint8), np.ones((1, 4), np.uint8), np.array([[0.9, 0.5, 0.2, 0.1]]))
    assert curve.best_pair(0.15, 0.45) == ((0.21, 0.51), pytest.approx(1 - (1 / 2 + 1 / 2) / 2))
    assert curve.best_pair(0.3, 0.8) == ((0.21, 0.51), 0.0)


@pytest.mark.parametrize("best", [[[2, 1]], [[255, 1]], [[1]]])
def test_the_curve_refuses_what_does_not_fit(best):
    """A class too many would be counted as another class at another threshold."""
    with pytest.raises(ShapeError):
        ThresholdCurve(2).add(np.ones((1, 2), np.uint8), np.array(best, np.uint8), np.ones((1, 2)))


def loop_average_precision(targets: list[bool], scores: list[float]) -> float:
    """Reference: for each distinct score as threshold, precision there times the recall gained."""
    area, reached = 0.0, 0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [t for t, s in zip(targets, scores, strict=True) if s >= threshold]
        area += (sum(chosen) - reached) / sum(targets) * sum(chosen) / len(chosen)
        reached = sum(chosen)
    return area


@given(pairs=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=12), data=st.data())
def test_average_precision_is_the_area_under_the_steps(pairs, data):
    """Ties go in one step, so that the order of the images does not matter."""
    targets, scores = [t for t, _ in pairs], [s / 5 for _, s in pairs]
    value = average_precision(targets, np.array(scores))
    shuffled = data.draw(st.permutations(pairs))
    again = average_precision([t for t, _ in shuffled], np.array([s / 5 for _, s in shuffled]))
    if not any(targets):
        assert math.isnan(value)
    else:
        assert value == pytest.approx(loop_average_precision(targets, scores)) == pytest.approx(again)


def test_average_precision_by_hand():
    """Right, wrong, right: 1/2 · 1 + 1/2 · 2/3."""
    assert average_precision([True, False, True], np.array([0.9, 0.8, 0.7])) == pytest.approx(5 / 6)
