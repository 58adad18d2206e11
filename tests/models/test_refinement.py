"""The dense CRF beside pydensecrf called directly, and refinement that does nothing."""

import hypothesis.strategies as st
import numpy as np
import pydensecrf.densecrf as dcrf
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from pydensecrf.utils import unary_from_labels, unary_from_softmax

from labelfactory.errors import ShapeError
from labelfactory.settings.registry import load_method, method_names
from models.refinement import dense_crf, none

CONFIG = dense_crf.CrfConfig(
    steps=5, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=20, bilateral_srgb=13, bilateral_compat=10
)
METHODS = [load_method("models.refinement", name) for name in method_names("models.refinement")]


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


@pytest.mark.parametrize("method", METHODS)
def test_a_single_channel_is_certain(method):
    """Nothing to decide: probability 1 everywhere."""
    image = photograph()
    scores = np.full((1, *image.shape[:2]), 0.3, dtype=np.float32)
    assert (method.refine_scores(image, scores, config=CONFIG) == 1).all()
    assert (method.refine_labels(image, np.zeros(image.shape[:2], int), 1, gt_prob=0.7, config=CONFIG) == 1).all()


@pytest.mark.parametrize("method", METHODS)
def test_read_only_and_flipped_arrays_are_taken_and_left_as_they_are(method):
    """As a decoder hands them out: read-only, with negative strides; results equal those of plain copies."""
    image, labels = photograph()[:, ::-1], np.eye(14, 17, dtype=np.uint8)[::-1]
    scores = some_scores(3, image)[:, :, ::-1]
    plain = method.refine_scores(image.copy(), scores.copy(), config=CONFIG)
    plain_labels = method.refine_labels(image.copy(), labels.copy(), 3, gt_prob=0.7, config=CONFIG)
    for array in (image, scores, labels):
        array.flags.writeable = False
    np.testing.assert_array_equal(method.refine_scores(image, scores, config=CONFIG), plain)
    np.testing.assert_array_equal(method.refine_labels(image, labels, 3, gt_prob=0.7, config=CONFIG), plain_labels)


@pytest.mark.parametrize("method", METHODS)
@given(
    scores=arrays(np.float32, st.tuples(st.integers(1, 4), st.just(5), st.just(6)), elements=st.floats(0, 1, width=32))
)
@settings(deadline=None, max_examples=25)
def test_probabilities_are_float32_and_sum_to_one(method, scores):
    """Whatever the scores, zeros in every channel too."""
    refined = method.refine_scores(photograph(5, 6), scores, config=CONFIG)
    assert refined.dtype == np.float32
    assert refined.shape == scores.shape
    assert refined.min() >= 0
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-5)


def test_none_returns_what_it_got():
    """Scores that sum to 1 stay; a labelling stays its own argmax, with `gt_prob` at the label."""
    image = photograph()
    scores = some_scores(3, image)
    np.testing.assert_allclose(none.refine_scores(image, scores, config=CONFIG), scores, rtol=1e-6)
    labels = np.random.default_rng(1).integers(0, 3, size=image.shape[:2])
    spread = none.refine_labels(image, labels, 3, gt_prob=0.7, config=CONFIG)
    np.testing.assert_array_equal(spread.argmax(axis=0), labels)
    np.testing.assert_allclose(np.sort(spread[:, 0, 0]), [0.15, 0.15, 0.7], rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_what_does_not_fit_is_refused(method):
    """Another size, a float image, no channel, a label out of range (void among them), a certainty of 1."""
    image, scores = photograph(), some_scores(2, photograph())
    labels = np.zeros(image.shape[:2], dtype=np.uint8)
    for bad_image, bad_scores in ((image[1:], scores), (image.astype(np.float32), scores), (image, scores[:0])):
        with pytest.raises(ShapeError):
            method.refine_scores(bad_image, bad_scores, config=CONFIG)
    with pytest.raises(ShapeError):
        method.refine_labels(image[1:], labels, 2, gt_prob=0.7, config=CONFIG)
    with pytest.raises(ShapeError):
        method.refine_labels(image, labels + np.uint8(255), 2, gt_prob=0.7, config=CONFIG)
    with pytest.raises(ValueError, match="gt_prob"):
        method.refine_labels(image, labels, 2, gt_prob=1.0, config=CONFIG)
