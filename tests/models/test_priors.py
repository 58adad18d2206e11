"""Priors: saliency from the spectrum beside its definition, and maps that another program made."""

from pathlib import PurePosixPath

import numpy as np
import pytest

from labelfactory.errors import DataError, ParamsError
from labelfactory.settings.registry import choose, method_names
from models.priors import files, spectral_residual

KNOBS = {"side": 64, "window": 3, "sigma": 2.5}
OF_FILES = {"folder": "net", "suffix": ".png", "supervision": ("saliency",), "missing": "quarantine"}


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_each_method_but_none_makes_maps():
    """With the defaults of its own knobs: one map over the whole photograph."""
    for name in set(method_names("models.priors")) - {"none"}:
        made = choose("models.priors", name).bind("prior_map")(noise(24, 32), np.full((6, 8), 7, np.uint8))
        assert made.dtype == np.uint8
        assert made.ndim == 2


# --- spectral residual ------------------------------------------------------------------------------------------------


def test_a_single_bright_pixel_is_all_that_stands_out():
    """By hand: its amplitude is the same at each frequency, so the residual is 0 and the phases alone draw the pixel, as 1."""
    picture = np.zeros((6, 9))
    picture[2, 5] = 0.25
    expected = np.zeros((6, 9))
    expected[2, 5] = 1.0
    np.testing.assert_allclose(spectral_residual.residual_energy(picture, 3), expected, atol=1e-6)


def test_the_mean_over_frequencies_goes_on_periodically():
    """By hand: a corner is the neighbour of all corners."""
    values = np.zeros((4, 5))
    values[0, 0] = 9.0
    mean = spectral_residual.periodic_mean(values, 3)
    assert mean.sum() == pytest.approx(9.0)
    near = [(r, c) for r in (3, 0, 1) for c in (4, 0, 1)]
    assert all(mean[place] == pytest.approx(1.0) for place in near)


def test_values_are_scaled_from_the_least_to_the_greatest():
    """By hand; where all are alike, nothing stands out."""
    assert spectral_residual.scaled(np.array([[1.0, 2.0, 1.5, 3.0]])).tolist() == [[0, 128, 64, 255]]
    assert spectral_residual.scaled(np.full((2, 3), 7.0)).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_patch_on_noise_stands_out(seed):
    """The highest value is in it, wherever the noise is bright."""
    photograph = np.random.default_rng(seed).integers(60, 140, (64, 64, 1), dtype=np.uint8).repeat(3, axis=2)
    photograph[33:39, 41:47] = 255
    row, column = np.unravel_index(spectral_residual.prior_map(photograph, **KNOBS).argmax(), (64, 64))
    assert 33 <= row < 39
    assert 41 <= column < 47


def test_a_mirror_image_has_the_mirrored_map():
    """Of either axis, but for the rounding of a level."""
    photograph = noise(40, 64)
    made = spectral_residual.prior_map(photograph, **KNOBS).astype(int)
    for axis in (0, 1):
        again = spectral_residual.prior_map(np.flip(photograph, axis).copy(), **KNOBS).astype(int)
        assert np.abs(np.flip(again, axis) - made).max() <= 1


def test_the_map_is_as_large_as_what_was_looked_at_and_uses_every_level():
    """Longer side of 64; a small photograph is not enlarged; one of a single colour has zeros."""
    assert spectral_residual.prior_map(noise(100, 200), **KNOBS).shape == (32, 64)
    assert spectral_residual.prior_map(noise(300, 150), **KNOBS).shape == (64, 32)
    small = spectral_residual.prior_map(noise(11, 7), **KNOBS)
    assert small.shape == (11, 7)
    assert (small.min(), small.max()) == (0, 255)
    assert not spectral_residual.prior_map(np.full((30, 40, 3), 90, np.uint8), **KNOBS).any()


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_named_after_its_image():
    """Slashes of the id are subfolders; what leads out is refused where files are read."""
    assert files.source_of("cats/a 1", **OF_FILES) == PurePosixPath("net/cats/a 1.png")
    assert ".." in files.source_of("../a", **OF_FILES).parts


def test_a_fine_map_is_reduced_to_every_fourth_pixel_and_a_coarse_one_stays():
    """By hand: means of four columns and four rows."""
    fine = np.repeat(np.repeat(np.array([[10, 20], [30, 50]], np.uint8), 4, axis=0), 4, axis=1)
    assert files.prior_map(noise(8, 8), fine, **OF_FILES).tolist() == [[10, 20], [30, 50]]
    coarse = np.array([[1, 2, 3]], np.uint8)
    assert files.prior_map(noise(8, 24), coarse, **OF_FILES).tolist() == [[1, 2, 3]]


def test_a_photograph_without_a_file_has_zeros_where_that_is_asked_for():
    """Else it is an error, which sets it aside."""
    made = files.prior_map(noise(9, 17), None, **{**OF_FILES, "missing": "zeros"})
    assert made.shape == (3, 5)
    assert not made.any()
    with pytest.raises(DataError, match="there is no map") as caught:
        files.prior_map(noise(9, 17), None, **OF_FILES)
    assert "missing: zeros" in caught.value.remedy


def test_a_map_that_lies_where_the_photograph_stands_is_refused():
    """One of a camera that was turned; a square map of a network with square input is fine."""
    with pytest.raises(DataError, match=r"its map is 20×10 pixels, the photograph 40×80"):
        files.prior_map(noise(80, 40), np.zeros((10, 20), np.uint8), **OF_FILES)
    assert files.prior_map(noise(80, 40), np.full((9, 9), 5, np.uint8), **OF_FILES).shape == (9, 9)


# --- knobs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"name": "spectral_residual", "side": 4}, "greater than or equal to 8"),
        ({"name": "spectral_residual", "window": 4}, "4 must be odd"),
        ({"name": "spectral_residual", "sigma": 0}, "greater than 0"),
        ({"name": "files", "folder": "../masks"}, "leads out of data/import/maps"),
        ({"name": "files", "folder": "/etc"}, "leads out of data/import/maps"),
        ({"name": "files", "suffix": "/../x"}, "should match pattern"),
        ({"name": "files", "supervision": ["true masks"]}, "a kind of label is one word"),
        ({"name": "files", "missing": "ignore"}, "'quarantine' or 'zeros'"),
        ({"name": "none", "side": 4}, "Extra inputs"),
        ("spectral", "did you mean `spectral_residual`"),
    ],
)
def test_knobs_out_of_range_are_refused(value, said):
    """Before anything runs; a folder or suffix cannot lead out of the import."""
    with pytest.raises(ParamsError, match=said):
        choose("models.priors", value)


def test_maps_from_files_count_as_made_with_labels_unless_somebody_says_otherwise():
    """Most such maps come from a network that learnt masks: silence must not make them free of labels."""
    assert choose("models.priors", "files").supervision == ("saliency",)
    assert choose("models.priors", {"name": "files", "supervision": []}).supervision == ()
    assert not hasattr(choose("models.priors", "spectral_residual"), "supervision")
