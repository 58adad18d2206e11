"""Methods of refinement beside the CRF: their laws, and a case of each that was computed by hand."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from noisy_photograph import photograph, some_scores

from labelfactory.settings.registry import choose
from models.refinement import pamr, par
from models.refinement._claims import labels_of_claims
from models.refinement.otsu import otsu_threshold

DILATED = ["pamr", "par"]
BY_COLOUR = [*DILATED, "superpixel_vote"]
NEAR = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def refine(name: str, image: np.ndarray, scores: np.ndarray, threshold: float = 0.4, **knobs: Any) -> np.ndarray:
    refined: np.ndarray = choose("models.refinement", {"name": name} | knobs).bind("refine")(
        image, scores, threshold=threshold, scale=1.0
    )
    return refined


def two_colours(width: int = 48, edge: int = 24, height: int = 32) -> np.ndarray:
    """Brown grass to the left of the edge, blue sky to the right, with some grain."""
    image = np.full((height, width, 3), (120, 90, 40), np.uint8)
    image[:, edge:] = (60, 120, 200)
    return image + np.random.default_rng(0).integers(0, 8, image.shape, dtype=np.uint8)


def blobs() -> np.ndarray:
    """Patches of many colours, [40, 50, 3]."""
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8), (0, 0), 3)
    return np.clip((smooth.astype(int) - 128) * 4 + 128, 0, 255).astype(np.uint8)


def hills(*tops: tuple[int, int]) -> np.ndarray:
    """Scores that fall from 1 at a place, for each class [40, 50]."""
    y, x = np.mgrid[:40, :50]
    return np.exp([-((y - top) ** 2 + (x - left) ** 2) / 300 for top, left in tops]).astype(np.float32)


# --- laws -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", [*BY_COLOUR, "otsu"])
def test_a_mirrored_photograph_gives_the_mirrored_result(name, axis):
    """grab_cut draws its first centres at random and is not among them."""
    image, scores = photograph(33, 41), 1.5 * some_scores(2, photograph(33, 41))
    straight = refine(name, image, scores)
    mirrored = refine(name, np.flip(image, axis - 1), np.flip(scores, axis))
    np.testing.assert_allclose(np.flip(mirrored, axis), straight, atol=2e-5)


@pytest.mark.parametrize("name", BY_COLOUR)
def test_flat_scores_stay_flat(name):
    """Whatever the photograph: means of one value are that value."""
    image = photograph(20, 30)
    scores = np.broadcast_to(np.array([0.6, 0.2], np.float32)[:, None, None], (2, 20, 30))
    expected = np.broadcast_to(np.array([0.4, 0.6, 0.2])[:, None, None] / 1.2, (3, 20, 30))
    np.testing.assert_allclose(refine(name, image, scores), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "knobs"), [*((name, {}) for name in DILATED), ("superpixel_vote", {"regions": 24}), ("grab_cut", {})]
)
def test_labels_move_to_the_edge_of_the_photograph(name, knobs):
    """Weak evidence that runs three pixels over an edge goes; as much on this side of it stays."""
    scores = np.full((1, 32, 48), 0.05, np.float32)
    scores[:, :, :18], scores[:, :, 18:27] = 0.9, 0.45
    labels = refine(name, two_colours(), scores, **knobs).argmax(axis=0)
    np.testing.assert_array_equal(labels, np.broadcast_to(np.arange(48) < 24, (32, 48)))


@pytest.mark.parametrize("name", DILATED)
def test_scores_do_not_cross_an_edge(name):
    """Sure scores on one side of it, after a hundred rounds."""
    scores = np.zeros((1, 32, 48), np.float32)
    scores[:, :, :24] = 0.9
    probabilities = refine(name, two_colours(), scores, iterations=100)
    assert (probabilities.argmax(axis=0) == (np.arange(48) < 24)).all()


# --- pamr and par -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [pamr, par])
def test_on_one_colour_all_neighbours_count_alike(module):
    """At one distance; par prefers the near ones by its kernel of place alone."""
    flat = np.full((3, 4, 3), 77, np.uint8)
    knobs = {"place": 0.0} if module is par else {}
    np.testing.assert_allclose(module.affinities(flat, NEAR, contrast=0.1, **knobs).numpy(), 1 / 8, rtol=1e-6)


def test_pamr_of_two_pixels_by_hand():
    """Greys 0 and 100, edges repeated: of the left pixel's eight neighbours five are 0 and three are 100, so with itself the
    nine have a deviation of 50 (over 8). At a contrast of 1 the three weigh e^−2 against 1.
    """
    image = np.array([[[0] * 3, [100] * 3]], np.uint8)
    unlike = math.exp(-2) / (5 + 3 * math.exp(-2))
    weights = pamr.affinities(image, NEAR, contrast=1.0)[:, 0, 0]
    np.testing.assert_allclose(weights, [unlike if dx == 1 else unlike * math.exp(2) for _, dx in NEAR], rtol=1e-5)
    scores = np.array([[[0.6, 0.0]]], np.float32)  # shares of 0.6 and 0
    after = refine("pamr", image, scores, contrast=1.0, dilations=[1], iterations=1)
    np.testing.assert_allclose(after[1, 0], [0.6 * (1 - 3 * unlike), 0.6 * 3 * unlike], rtol=1e-5)


def test_par_of_two_pixels_by_hand():
    """The same two pixels. Without itself the eight neighbours have the variance 18,750 / 7, so (100 / σ)² is 3.7333; the kernel
    of place leaves a quarter to each straight neighbour, of which one is unlike.
    """
    image = np.array([[[0] * 3, [100] * 3]], np.uint8)
    ratio = math.exp(-(100**2) * 7 / 18_750)
    unlike = 3 * ratio / (5 + 3 * ratio)
    scores = np.array([[[0.6, 0.0]]], np.float32)
    for place in (0.0, 0.5):
        moved = (unlike + place / 4) / (1 + place)
        after = refine("par", image, scores, contrast=1.0, place=place, dilations=[1], iterations=1)
        np.testing.assert_allclose(after[1, 0], [0.6 * (1 - moved), 0.6 * moved], rtol=1e-5)


def test_dilations_say_how_far_scores_move():
    """On one colour, a class that is on one pixel: after one round it is on the eight pixels at that distance."""
    scores = np.zeros((1, 11, 11), np.float32)
    scores[0, 5, 5] = 0.6
    after = refine("pamr", np.zeros((11, 11, 3), np.uint8), scores, dilations=[3], iterations=1)
    reached = {(int(y) - 5, int(x) - 5) for y, x in zip(*np.nonzero(after[1] > 1e-9), strict=True)}
    assert reached == {(3 * dy, 3 * dx) for dy, dx in NEAR}
    np.testing.assert_allclose(after[1].sum(), 0.6, rtol=1e-5)


# --- regions, thresholds, cuts ----------------------------------------------------------------------------------------


def test_superpixels_take_the_mean_or_the_majority_by_hand():
    """A region of four pixels, one of 0.9 and three of 0.3: the mean 0.45 exceeds the threshold of 0.4, most labels do not."""
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 2:] = 255
    scores = np.array([[[0.9, 0.3, 0, 0], [0.3, 0.3, 0, 0]]], np.float32)
    mean = refine("superpixel_vote", image, scores, regions=2)
    np.testing.assert_allclose(mean[1], [[0.45 / 0.85] * 2 + [0] * 2] * 2, rtol=1e-6)
    majority = refine("superpixel_vote", image, scores, regions=2, vote="majority")
    np.testing.assert_allclose(majority[1], [[0.25] * 2 + [0] * 2] * 2)


def test_otsu_by_hand():
    """Between two values the middle. Of 0 six times, 0.4 three times and 1 once, sizes times the squared distance of means are
    6 · 4 · 0.55² = 7.26 below 0.4 and 9 · 1 · 0.867² = 6.76 above; with 0.4 only once, 6 · 2 · 0.7² = 5.88 and 7 · 1 · 0.94² = 6.2.
    """
    assert otsu_threshold(np.array([0.0, 0.0, 1.0]), otherwise=0.3) == pytest.approx(127.5 / 255)
    assert otsu_threshold(np.array([0.0] * 6 + [0.4] * 3 + [1.0]), otherwise=0.3) < 0.4
    assert otsu_threshold(np.array([0.0] * 6 + [0.4] + [1.0]), otherwise=0.3) > 0.4
    assert otsu_threshold(np.full(5, 0.7), otherwise=0.3) == 0.3


def test_each_class_has_its_own_threshold_of_otsu():
    """One of faint scores beside one of strong ones: at the line's threshold it would have no pixel, the other all."""
    scores = np.zeros((2, 4, 6), np.float32)
    scores[0, :, :2], scores[1] = 0.2, 0.5
    scores[1, :, 4:] = 0.9
    image = photograph(4, 6)
    np.testing.assert_array_equal(refine("otsu", image, scores).argmax(axis=0)[0], [1, 1, 0, 0, 2, 2])
    scores[0, :, 3:] = 0.2
    np.testing.assert_array_equal(refine("otsu", image, scores).argmax(axis=0)[0], [1, 1, 0, 1, 2, 2])
    np.testing.assert_array_equal(refine("none", image, scores).argmax(axis=0)[0], [2] * 6)


def test_grab_cut_keeps_what_is_sure():
    """A sure pixel of the other colour stays, on both sides; without being sure it is cut off."""
    scores = np.full((1, 32, 48), 0.3, np.float32)
    scores[:, :, :20], scores[:, :, 28:] = 0.9, 0.05
    sure, unsure = scores.copy(), scores.copy()
    sure[0, 16, 40], unsure[0, 16, 40] = 0.9, 0.41
    sure[0, 16, 8], unsure[0, 16, 8] = 0.05, 0.39
    halves = np.broadcast_to(np.arange(48) < 24, (32, 48))
    np.testing.assert_array_equal(refine("grab_cut", two_colours(), unsure).argmax(axis=0), halves)
    kept = refine("grab_cut", two_colours(), sure).argmax(axis=0)
    assert kept[16, 40] == 1
    assert kept[16, 8] == 0
    assert (kept != halves).sum() == 2


def test_grab_cut_does_not_depend_on_what_ran_before():
    """OpenCV's random numbers and threads: the same bits, on a photograph of blobs whose cut depends on the first centres."""
    image, scores = blobs(), hills((20, 25))
    results, threads = set(), cv2.getNumThreads()
    for seed in range(6):
        cv2.setRNGSeed(seed)
        cv2.setNumThreads(1 + seed % 4)
        results.add(refine("grab_cut", image, scores, iterations=1, margin=0.9).tobytes())
    cv2.setNumThreads(threads)
    assert len(results) == 1


def test_of_two_classes_that_claim_a_pixel_the_higher_score_has_it():
    """Whatever their order; a higher score that does not claim it counts for nothing, and 0 is a score."""
    claims = np.array([[[1, 1, 1, 0, 0, 1]], [[1, 1, 0, 1, 0, 0]]], np.bool_)
    scores = np.array([[[0.3, 0.6, 0.1, 0.9, 0.9, 0.0]], [[0.5, 0.5, 0.9, 0.2, 0.8, 0.0]]])
    np.testing.assert_array_equal(labels_of_claims(claims, scores), [[2, 1, 1, 2, 0, 1]])
    np.testing.assert_array_equal(labels_of_claims(claims[::-1], scores[::-1]), [[1, 2, 2, 1, 0, 2]])


@pytest.mark.parametrize("level", [0.0, 0.39, 0.45, 1.0])
def test_grab_cut_leaves_labels_where_there_is_nothing_to_cut(level):
    """All of one label: no colours of the other side are known."""
    image = photograph(10, 12)
    scores = np.full((1, 10, 12), level, np.float32)
    np.testing.assert_array_equal(refine("grab_cut", image, scores).argmax(axis=0), np.full((10, 12), level >= 0.4))
