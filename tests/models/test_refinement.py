"""Refinement: laws of all methods, and refinement that does nothing. The dense CRF has tests of its own."""

import importlib.util
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from noisy_photograph import photograph, some_scores

from labelfactory.errors import ShapeError
from labelfactory.schema import VOID
from labelfactory.settings.registry import choose, method_names
from models.refinement import refined
from models.refinement._crf import label_probabilities
from models.seeds import channels_above


def refine(name: str, unary: str, image: np.ndarray, scores: np.ndarray, threshold: float = 0.4) -> np.ndarray:
    """Scores of classes through a method with its own defaults, on the whole photograph."""
    method = choose("models.refinement", {"name": name, "unary": unary})
    refined: np.ndarray = method.bind("refine")(image, scores, threshold=threshold, scale=1.0)
    return refined


OPTIONAL = {"pydensecrf": "pydensecrf.densecrf"}
"""Method → the package that it needs and that may be missing."""


def with_its_package(name: str) -> Any:
    """The method as a parameter, skipped where its package is missing."""
    missing = name in OPTIONAL and importlib.util.find_spec(OPTIONAL[name].split(".")[0]) is None
    marks = pytest.mark.skipif(missing, reason=f"the method {name} needs the package {OPTIONAL.get(name)}")
    return pytest.param(name, marks=marks)


each_method = pytest.mark.parametrize("method", [with_its_package(name) for name in method_names("models.refinement")])
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
    """A label out of range (void among them), a certainty of 1."""
    labels = np.zeros((3, 4), dtype=np.uint8)
    with pytest.raises(ShapeError):
        label_probabilities(labels + np.uint8(255), 2, gt_prob=0.7)
    with pytest.raises(ValueError, match="gt_prob"):
        label_probabilities(labels, 2, gt_prob=1.0)


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
