"""The dense CRF beside pydensecrf called directly, and refinement that does nothing."""

import hypothesis.strategies as st
import numpy as np
import pydensecrf.densecrf as dcrf
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from pydensecrf.utils import unary_from_labels, unary_from_softmax

from labelfactory.errors import ShapeError
from labelfactory.schema import VOID
from labelfactory.settings.registry import choose, method_names
from models.refinement import dense_crf, refined
from models.seeds import channels_above

CONFIG = dense_crf.CrfConfig(
    steps=5, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=20, bilateral_srgb=13, bilateral_compat=10
)


def photograph(height: int = 14, width: int = 17, seed: int = 0) -> np.ndarray:
    """A dark and a bright half with noise."""
    noise = np.random.default_rng(seed).integers(0, 60, size=(height, width, 3), dtype=np.uint8)
    noise[:, width // 2 :] += 150
    return noise


def some_scores(channels: int, image: np.ndarray, seed: int = 0) -> np.ndarray:
    scores = np.random.default_rng(seed).random((channels, *image.shape[:2]), dtype=np.float32)
    return scores / scores.sum(axis=0)


def direct(image: np.ndarray, unary: np.ndarray, channels: int) -> np.ndarray:
    """Reference: pydensecrf as its README calls it."""
    height, width = image.shape[:2]
    crf = dcrf.DenseCRF2D(width, height, channels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=20, srgb=13, rgbim=image.copy(), compat=10)
    return np.array(crf.inference(5)).reshape(channels, height, width)


@pytest.mark.parametrize("channels", [2, 4])
def test_scores_equal_pydensecrf_called_directly(channels):
    """The same bits, zeros among the scores."""
    image = photograph()
    scores = some_scores(channels, image)
    scores[0, 3:6] = 0
    expected = direct(image, unary_from_softmax(scores), channels)
    np.testing.assert_array_equal(dense_crf.refine_scores(image, scores, config=CONFIG), expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_labels_equal_pydensecrf_called_directly(channels):
    """IRN's unary from labels."""
    image = photograph()
    labels = np.random.default_rng(1).integers(0, channels, size=image.shape[:2])
    expected = direct(image, unary_from_labels(labels, channels, gt_prob=0.7, zero_unsure=False), channels)
    refined = dense_crf.refine_labels(image, labels, channels, gt_prob=0.7, config=CONFIG)
    np.testing.assert_allclose(refined, expected, atol=1e-5)


def test_the_crf_follows_the_edge_of_the_photograph():
    """Scores that lean the right way with noise become the two halves; width comes before height in pydensecrf."""
    image = photograph(12, 20)
    scores = some_scores(2, image)
    scores[1, :, 10:] += 0.4
    scores[0, :, :10] += 0.4
    labels = dense_crf.refine_scores(image, scores, config=CONFIG).argmax(axis=0)
    assert (labels == (np.arange(20) >= 10)).all()


def test_a_kernel_of_weight_zero_is_left_out():
    """Without both kernels the scores stay."""
    image = photograph()
    scores = some_scores(3, image)
    still = CONFIG.model_copy(update={"gaussian_compat": 0.0, "bilateral_compat": 0.0})
    np.testing.assert_allclose(dense_crf.refine_scores(image, scores, config=still), scores, atol=1e-6)
    partly = CONFIG.model_copy(update={"bilateral_compat": 0.0})
    assert np.abs(dense_crf.refine_scores(image, scores, config=partly) - scores).max() > 0.1


def refine(name: str, unary: str, image: np.ndarray, scores: np.ndarray, threshold: float = 0.4) -> np.ndarray:
    """Scores of classes through a method with its own defaults, on the whole photograph."""
    method = choose("models.refinement", {"name": name, "unary": unary})
    refined: np.ndarray = method.bind("refine")(image, scores, threshold=threshold, scale=1.0)
    return refined


each_method = pytest.mark.parametrize("method", method_names("models.refinement"))
each_unary = pytest.mark.parametrize("unary", ["labels", "scores"])


@each_method
@each_unary
def test_an_image_without_a_class_is_background(method, unary):
    """Nothing to decide: probability 1 everywhere."""
    image = photograph()
    assert (refine(method, unary, image, np.zeros((0, *image.shape[:2]), np.float32)) == 1).all()


@each_method
@each_unary
def test_read_only_and_flipped_arrays_are_taken_and_left_as_they_are(method, unary):
    """As a decoder hands them out: read-only, with negative strides; results equal those of plain copies."""
    image = photograph()[:, ::-1]
    scores = some_scores(3, image)[:, :, ::-1]
    plain = refine(method, unary, image.copy(), scores.copy())
    for array in (image, scores):
        array.flags.writeable = False
    np.testing.assert_array_equal(refine(method, unary, image, scores), plain)


@each_method
@each_unary
@given(
    scores=arrays(np.float32, st.tuples(st.integers(0, 3), st.just(5), st.just(6)), elements=st.floats(0, 1, width=32)),
    threshold=st.floats(0, 1),
)
@settings(deadline=None, max_examples=25)
def test_probabilities_are_float32_and_sum_to_one(method, unary, scores, threshold):
    """The background's channel first; whatever the scores, zeros in every channel too."""
    probabilities = refine(method, unary, photograph(5, 6), scores, threshold)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (1 + len(scores), 5, 6)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_none_returns_what_it_got():
    """Scores in their proportions beside the background's; a labelling as its own argmax, with `gt_prob` at the label."""
    image = photograph()
    scores = some_scores(2, image)
    beside = np.concatenate([np.full((1, *image.shape[:2]), 0.4, np.float32), scores])
    np.testing.assert_allclose(refine("none", "scores", image, scores), beside / beside.sum(axis=0), rtol=1e-6)
    spread = refine("none", "labels", image, scores)
    np.testing.assert_array_equal(spread.argmax(axis=0), channels_above(scores, 0.4))
    np.testing.assert_allclose(np.sort(spread[:, 0, 0]), [0.15, 0.15, 0.7], rtol=1e-6)


@each_method
@each_unary
def test_images_that_do_not_fit_are_refused(method, unary):
    """Another size, a float image."""
    image, scores = photograph(), some_scores(2, photograph())
    for bad_image in (image[1:], image.astype(np.float32)):
        with pytest.raises(ShapeError):
            refine(method, unary, bad_image, scores)


def test_labels_that_do_not_fit_are_refused():
    """A label out of range (void among them), a certainty of 1, no channel."""
    image, scores = photograph(), some_scores(2, photograph())
    labels = np.zeros(image.shape[:2], dtype=np.uint8)
    with pytest.raises(ShapeError):
        dense_crf.refine_scores(image, scores[:0], config=CONFIG)
    with pytest.raises(ShapeError):
        dense_crf.refine_labels(image, labels + np.uint8(255), 2, gt_prob=0.7, config=CONFIG)
    with pytest.raises(ValueError, match="gt_prob"):
        dense_crf.refine_labels(image, labels, 2, gt_prob=1.0, config=CONFIG)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_a_mask_is_the_best_class_and_void_where_that_is_not_sure(scale):
    """Class ids, not channels; the agreement is that of the labels before and after."""
    image = photograph(12, 20)
    scores = np.zeros((2, 6, 10), np.float32)
    scores[1, :, 5:] = 0.9
    scores[0, :2] = 0.45
    method = choose("models.refinement", "none")
    limits = {"threshold": 0.4, "scale": scale}
    made = refined(image, scores, [3, 7], method, min_confidence=0.0, **limits)
    assert made.probabilities.shape == (3, 12, 20)
    assert set(np.unique(made.mask)) == {0, 3, 7}
    assert made.mask[0, 0] == 3
    assert made.mask[-1, -1] == 7
    assert made.agreement == pytest.approx(1.0, abs=0.1)
    assert (refined(image, scores, [3, 7], method, min_confidence=0.71, **limits).mask == VOID).all()
