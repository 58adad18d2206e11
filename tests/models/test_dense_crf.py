"""The dense CRF: beside the kernels written out, beside pydensecrf, its laws, and one lattice for several runs."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from noisy_photograph import photograph, some_scores

from labelfactory.errors import MissingError, ShapeError
from labelfactory.stage.preflight import check_line
from models.refinement import _lattice as lattices
from models.refinement import pydensecrf
from models.refinement._crf import CrfConfig, energy_of_labels, energy_of_scores
from models.refinement._mean_field import Kernels
from models.refinement.dense_crf import DenseCrf
from sources.demo import render_image
from stages.refine_crf import RefineCrfConfig

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CrfConfig(steps=5, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=20, bilateral_srgb=13, bilateral_compat=10)
PRINTED = {
    "irn": CrfConfig(
        steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=50, bilateral_srgb=5, bilateral_compat=10
    ),
    "psa": CrfConfig(
        steps=10, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=80, bilateral_srgb=13, bilateral_compat=10
    ),
}


def written_out(image: np.ndarray, energy: np.ndarray, config: CrfConfig) -> np.ndarray:
    """Reference: mean field with both kernels as matrices [N, N], in 64 bits."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    places = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    colours = image.reshape(-1, 3).astype(np.float64)
    features = {
        config.gaussian_compat: places / config.gaussian_sxy,
        config.bilateral_compat: np.hstack([places / config.bilateral_sxy, colours / config.bilateral_srgb]),
    }
    pairwise = np.zeros((len(places), len(places)))
    for compat, feature in features.items():
        kernel = np.exp(-0.5 * ((feature[:, None] - feature) ** 2).sum(axis=2))
        norm = 1 / np.sqrt(kernel.sum(axis=1))
        pairwise += compat * norm[:, None] * kernel * norm
    unary = -energy.reshape(len(energy), -1).astype(np.float64)
    probabilities = np.exp(unary) / np.exp(unary).sum(axis=0)
    for _ in range(config.steps):
        logits = unary + probabilities @ pairwise
        odds = np.exp(logits - logits.max(axis=0))
        probabilities = odds / odds.sum(axis=0)
    return probabilities.reshape(energy.shape)


@pytest.mark.parametrize("channels", [2, 4])
def test_mean_field_with_the_kernels_written_out(channels):
    """On a small image. The lattice is not the exact kernel: the authors' error too is of this size."""
    image = photograph(20, 24)
    scores = some_scores(channels, image)
    scores[0, :, :12] += 0.3
    scores[1, :, 12:] += 0.3
    config = CONFIG.model_copy(update={"gaussian_compat": 1.0, "bilateral_compat": 2.0, "bilateral_srgb": 40.0})
    ours = DenseCrf(image, config).refine_scores(scores)
    expected = written_out(image, energy_of_scores(image, scores), config)
    assert (ours.argmax(axis=0) == expected.argmax(axis=0)).mean() > 0.98
    assert np.abs(ours - expected).mean() < 0.02


def test_the_kernel_of_places_alone_is_the_gaussian():
    """Here nothing is approximated but the filter's end."""
    image = photograph(15, 40)
    scores = some_scores(3, image)
    config = CONFIG.model_copy(update={"bilateral_compat": 0.0})
    expected = written_out(
        image, energy_of_scores(image, scores), config.model_copy(update={"bilateral_compat": 1e-12})
    )
    np.testing.assert_allclose(DenseCrf(image, config).refine_scores(scores), expected, atol=0.01)


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """[H, W, 3] uint8, from one pixel to 40 × 40: noise, or noise of few levels."""
    height, width, seed = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.integers(0, 99))
    most = draw(st.sampled_from([2, 30, 256]))
    return np.random.default_rng(seed).integers(0, most, size=(height, width, 3), dtype=np.uint8)


@given(image=images(), srgb=st.sampled_from([5.0, 13.0, 60.0]))
@settings(deadline=None, max_examples=30)
def test_a_pixel_lies_in_its_simplex(image, srgb):
    """Weights from 0 to 1 that sum to 1, six different vertices, neighbours that know each other."""
    lattice = lattices.build_lattice(image, 20.0, srgb)
    np.testing.assert_allclose(lattice.weights.sum(axis=1), 1, atol=1e-4)
    assert lattice.weights.min() > -1e-4
    count = lattice.after.shape[1]
    corners = np.sort(lattice.vertices.astype(np.int64), axis=1)
    assert (np.diff(corners, axis=1) > 0).all()
    assert set(np.unique(corners)) == set(range(count))
    for before, after in zip(lattice.before, lattice.after, strict=True):
        known = np.flatnonzero(after < count)
        assert (before[after[known]] == known).all()
        assert (before < count).sum() == len(known)


@given(image=images(), channels=st.integers(2, 5), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_channels_may_change_places(image, channels, seed):
    """The first one is not special but for rounding."""
    scores = some_scores(channels, image, seed)
    order = np.random.default_rng(seed).permutation(channels)
    ours, moved = (DenseCrf(image, CONFIG).refine_scores(given) for given in (scores, scores[order]))
    np.testing.assert_allclose(moved, ours[order], atol=2e-3)


def test_scores_that_lean_one_way_become_the_two_halves():
    """The CRF follows the edge of the photograph."""
    image = photograph(12, 20)
    scores = some_scores(2, image)
    scores[1, :, 10:] += 0.4
    scores[0, :, :10] += 0.4
    labels = DenseCrf(image, CONFIG).refine_scores(scores).argmax(axis=0)
    assert (labels == (np.arange(20) >= 10)).all()


def test_a_kernel_of_weight_zero_is_left_out():
    """Without both kernels, or without a step, the scores stay."""
    image = photograph()
    scores = some_scores(3, image)
    for change in ({"gaussian_compat": 0.0, "bilateral_compat": 0.0}, {"steps": 0}):
        still = CONFIG.model_copy(update=change)
        np.testing.assert_allclose(DenseCrf(image, still).refine_scores(scores), scores, atol=1e-6)
    partly = CONFIG.model_copy(update={"bilateral_compat": 0.0})
    assert np.abs(DenseCrf(image, partly).refine_scores(scores) - scores).max() > 0.1


def test_one_channel_is_certain():
    """Nothing to decide."""
    image = photograph()
    assert (DenseCrf(image, CONFIG).refine_labels(np.zeros(image.shape[:2], int), 1, gt_prob=0.7) == 1).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (1, 300), (300, 1), (2, 2)])
@pytest.mark.parametrize("config", PRINTED.values(), ids=PRINTED)
def test_tiny_images(size, config):
    """Probabilities that sum to 1."""
    image = photograph(*size) if size[1] > 1 else np.full((*size, 3), 9, np.uint8)
    probabilities = DenseCrf(image, config).refine_scores(some_scores(3, image))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)


def test_scores_without_a_channel_are_refused():
    image = photograph()
    with pytest.raises(ShapeError):
        DenseCrf(image, CONFIG).refine_scores(np.zeros((0, *image.shape[:2]), np.float32))


def test_reaches_far_below_a_pixel():
    """Each pixel alone: refused where the lattice cannot number its vertices, and nothing overflows before."""
    image = photograph(30, 40)
    scores = some_scores(2, image)
    near = CONFIG.model_copy(update={"bilateral_sxy": 0.5, "bilateral_srgb": 0.5, "gaussian_sxy": 0.1})
    assert (DenseCrf(image, near).refine_scores(scores).argmax(axis=0) == scores.argmax(axis=0)).all()
    with pytest.raises(ValueError, match="too small"):
        DenseCrf(image, CONFIG.model_copy(update={"bilateral_srgb": 1e-4})).refine_scores(scores)


def test_the_lattice_grows_with_the_pixels_alone():
    """Of the worst image, noise of all colours, up to six vertices a pixel; of a photograph far less than one."""
    noise = np.random.default_rng(0).integers(0, 256, size=(200, 300, 3), dtype=np.uint8)
    drawn = render_image(0, 0)[0]
    for image, most in ((noise, 6.0), (drawn, 1.0)):
        lattice = lattices.build_lattice(image, 50.0, 5.0)
        pixels = image.shape[0] * image.shape[1]
        assert lattice.after.shape[1] <= most * pixels
        assert sum(array.nbytes for array in lattice) <= (48 + 48 * most) * pixels


def test_one_lattice_serves_several_runs():
    """The same bytes as with a lattice of its own; other weights and numbers of steps share it, other reaches do not."""
    image, labels = photograph(), np.random.default_rng(1).integers(0, 3, size=(14, 17))
    first = DenseCrf(image, CONFIG)
    first.refine_labels(labels, 3, gt_prob=0.7)
    for change, same in (({"bilateral_compat": 4.0, "steps": 2}, True), ({"bilateral_sxy": 30.0}, False)):
        config = CONFIG.model_copy(update=change)
        other = first.with_config(config)
        assert (other._kernels is first._kernels) is same
        expected = DenseCrf(image, config).refine_labels(labels, 3, gt_prob=0.7)
        np.testing.assert_array_equal(other.refine_labels(labels, 3, gt_prob=0.7), expected)


@pytest.mark.slow
def test_the_same_bytes_each_time_in_each_process(tmp_path):
    """Compiled anew, where the folder of machine code cannot be written, and on a processor with fewer instructions."""
    program = (
        "import numpy as np, hashlib; from models.refinement._crf import CrfConfig; "
        "from models.refinement.dense_crf import DenseCrf; rng = np.random.default_rng(0); "
        "image = rng.integers(0, 256, size=(40, 150, 3), dtype=np.uint8); labels = rng.integers(0, 3, size=(40, 150)); "
        f"config = CrfConfig.model_validate({CONFIG.model_dump()}); "
        "made = DenseCrf(image, config).refine_labels(labels, 3, gt_prob=0.7); "
        "print(hashlib.sha256(made.tobytes()).hexdigest())"
    )
    (tmp_path / "file").write_text("")
    kinds = [{}, {"LABELFACTORY_CACHE": str(tmp_path / "file"), "NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}]
    made = set()
    for kind in kinds if os.uname().machine == "x86_64" else kinds[:1] * 2:
        words = [sys.executable, "-c", program]
        made.add(subprocess.run(words, env=os.environ | kind, cwd=ROOT, capture_output=True, check=True).stdout)
    assert len(made) == 1


def test_numba_is_loaded_by_the_first_run_alone():
    """Commands list methods and check params.yaml; none of them compiles."""
    program = (
        "import sys; from labelfactory.settings.registry import choose; "
        "choose('models.refinement', 'dense_crf').bind('refine'); "
        "choose('models.affinity_labels', 'irn').bind('confident_labels'); "
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def authors_code():
    """pydensecrf, which has to be compiled and may be missing."""
    reason = "pydensecrf is not installed: pip install 'labelfactory[pydensecrf]' needs a C++ compiler"
    return pytest.importorskip("pydensecrf.densecrf", reason=reason)


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("config", PRINTED.values(), ids=PRINTED)
def test_labels_equal_those_of_pydensecrf(authors_code, channels, config):
    """On a drawn photograph with noise, from a labelling of which the CRF changes a tenth."""
    rng = np.random.default_rng(channels)
    image, mask = render_image(channels, 0)
    image = np.clip(image + rng.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
    labels = np.minimum(mask, channels - 1).astype(np.int64)
    wrong = np.kron(rng.random(tuple(-(-side // 8) for side in labels.shape)) < 0.1, np.ones((8, 8), bool))
    labels[wrong[: labels.shape[0], : labels.shape[1]]] = 1
    ours = DenseCrf(image, config).refine_labels(labels, channels, gt_prob=0.7)
    theirs = pydensecrf.refine_labels(image, labels, channels, gt_prob=0.7, config=config)
    assert (ours.argmax(axis=0) != labels).any()
    assert (ours.argmax(axis=0) == theirs.argmax(axis=0)).mean() >= 0.995
    assert np.abs(ours - theirs).mean() < 0.005


@given(image=images(), channels=st.integers(2, 4), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_the_lattice_filters_as_that_of_pydensecrf(authors_code, image, channels, seed):
    """The appearance kernel alone, one step: the same numbers but for rounding.

    The authors' code takes four pixels at once. It fills up the last four with black ones at the first place, whose vertices are
    there then; so one is black here where the number of pixels is no multiple of four.
    """
    if image[..., 0].size % 4:
        image[0, 0] = 0
    config = CONFIG.model_copy(update={"gaussian_compat": 0.0, "steps": 1, "bilateral_compat": 3.0})
    scores = some_scores(channels, image, seed)
    theirs = pydensecrf.refine_scores(image, scores, config=config)
    np.testing.assert_allclose(DenseCrf(image, config).refine_scores(scores), theirs, atol=2e-3)


def test_the_method_pydensecrf_is_pydensecrf_called_directly(authors_code):
    """The same bits, zeros among the scores; unaries from labels too."""
    from pydensecrf.utils import unary_from_labels, unary_from_softmax

    image = photograph()
    scores, labels = some_scores(4, image), np.random.default_rng(1).integers(0, 4, size=image.shape[:2])
    scores[0, 3:6] = 0

    def direct(unary: np.ndarray) -> np.ndarray:
        crf = authors_code.DenseCRF2D(17, 14, 4)
        crf.setUnaryEnergy(np.ascontiguousarray(unary))
        crf.addPairwiseGaussian(sxy=3, compat=3)
        crf.addPairwiseBilateral(sxy=20, srgb=13, rgbim=image.copy(), compat=10)
        return np.array(crf.inference(5)).reshape(4, 14, 17)

    ours = pydensecrf.refine_scores(image, scores, config=CONFIG)
    np.testing.assert_array_equal(ours, direct(unary_from_softmax(scores)))
    expected = direct(unary_from_labels(labels, 4, gt_prob=0.7, zero_unsure=False))
    np.testing.assert_allclose(
        pydensecrf.refine_labels(image, labels, 4, gt_prob=0.7, config=CONFIG), expected, atol=1e-5
    )


def test_a_missing_pydensecrf_is_an_error_that_says_what_to_type(monkeypatch, tmp_path):
    """Before a run, and when it is called."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    section = RefineCrfConfig(method="pydensecrf", scale=1, min_confidence=0)
    image = photograph()
    for call in (
        lambda: check_line({"refine_crf": section}),
        lambda: pydensecrf.refine_scores(image, some_scores(2, image), config=CONFIG),
    ):
        with pytest.raises(MissingError, match="pip install 'labelfactory\\[pydensecrf\\]'"):
            call()


def test_kernels_do_not_depend_on_unaries():
    """The energies of labels and of scores are the methods' own affair."""
    image = photograph()
    energy = energy_of_labels(image, np.zeros(image.shape[:2], int), 2, gt_prob=0.7)
    kernels = Kernels(image, **CONFIG.reaches())
    before = [array.copy() for array in kernels._appearance.lattice]
    kernels.add_appearance(energy[0].ravel().copy(), energy[1].ravel(), 1.0)
    assert all((one == other).all() for one, other in zip(before, kernels._appearance.lattice, strict=True))
