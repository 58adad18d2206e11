"""Refinement: laws of all methods, and refinement that does nothing. Single methods have tests of their own."""

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
from labelfactory.settings.registry import Family, choose, method_names
from models.refinement import refined
from models.refinement._crf import label_probabilities
from models.seeds import channels_above


def refine(chosen: dict[str, Any], image: np.ndarray, scores: np.ndarray, threshold: float = 0.4) -> np.ndarray:
    """Scores of classes through a method, on the whole photograph; what `chosen` does not name is the method's own default."""
    method = choose("models.refinement", chosen)
    refined: np.ndarray = method.bind("refine")(image, scores, threshold=threshold, scale=1.0)
    return refined


OPTIONAL = {"pydensecrf": "pydensecrf.densecrf"}
"""Method → the package that it needs and that may be missing."""


def with_its_package(name: str, **knobs: str) -> Any:
    """The method as a parameter, skipped where its package is missing."""
    missing = name in OPTIONAL and importlib.util.find_spec(OPTIONAL[name].split(".")[0]) is None
    marks = pytest.mark.skipif(missing, reason=f"the method {name} needs the package {OPTIONAL.get(name)}")
    return pytest.param({"name": name} | knobs, marks=marks, id="-".join([name, *knobs.values()]))


VARIANTS = {"unary": ("labels", "scores"), "vote": ("mean", "majority")}
"""Knobs of which each value is tried, for the methods that have them."""


def variants(name: str) -> list[Any]:
    knob = next((knob for knob in VARIANTS if Family("models.refinement").has_knob(name, knob)), None)
    return [with_its_package(name, **{knob: value}) for value in VARIANTS[knob]] if knob else [with_its_package(name)]


each_method = pytest.mark.parametrize(
    "method", [variant for name in method_names("models.refinement") for variant in variants(name)]
)


@each_method
def test_an_image_without_a_class_is_background(method):
    """Nothing to decide: probability 1 everywhere."""
    image = photograph()
    assert (refine(method, image, np.zeros((0, *image.shape[:2]), np.float32)) == 1).all()


@each_method
def test_read_only_and_flipped_arrays_are_taken_and_left_as_they_are(method):
    """As a decoder hands them out: read-only, with negative strides; results equal those of plain copies."""
    image = photograph()[:, ::-1]
    scores = some_scores(3, image)[:, :, ::-1]
    plain = refine(method, image.copy(), scores.copy())
    for array in (image, scores):
        array.flags.writeable = False
    np.testing.assert_array_equal(refine(method, image, scores), plain)


@each_method
@given(
    scores=arrays(np.float32, st.tuples(st.integers(0, 3), st.just(5), st.just(6)), elements=st.floats(0, 1, width=32)),
    threshold=st.floats(0, 1),
)
@settings(deadline=None, max_examples=25)
def test_probabilities_are_float32_and_sum_to_one(method, scores, threshold):
    """The background's channel first; whatever the scores, zeros in every channel too."""
    probabilities = refine(method, photograph(5, 6), scores, threshold)
    assert probabilities.dtype == np.float32
    assert probabilities.shape == (1 + len(scores), 5, 6)
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


@each_method
def test_the_order_of_classes_does_not_matter(method):
    """Channels that change places change places in the result; the background stays first."""
    image = photograph(24, 30)
    scores = 1.5 * some_scores(3, image)
    straight = refine(method, image, scores)
    turned = refine(method, image, scores[[2, 0, 1]])
    np.testing.assert_allclose(turned, straight[[0, 3, 1, 2]], atol=1e-5)


def test_none_returns_what_it_got():
    """Scores in their proportions beside the background's; a labelling as its own argmax, with `gt_prob` at the label."""
    image = photograph()
    scores = some_scores(2, image)
    beside = np.concatenate([np.full((1, *image.shape[:2]), 0.4, np.float32), scores])
    np.testing.assert_allclose(
        refine({"name": "none", "unary": "scores"}, image, scores), beside / beside.sum(axis=0), rtol=1e-6
    )
    spread = refine({"name": "none", "unary": "labels"}, image, scores)
    np.testing.assert_array_equal(spread.argmax(axis=0), channels_above(scores, 0.4))
    np.testing.assert_allclose(np.sort(spread[:, 0, 0]), [0.15, 0.15, 0.7], rtol=1e-6)


@each_method
def test_images_that_do_not_fit_are_refused(method):
    """Another size, a float image."""
    image, scores = photograph(), some_scores(2, photograph())
    for bad_image in (image[1:], image.astype(np.float32)):
        with pytest.raises(ShapeError):
            refine(method, bad_image, scores)


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
