"""Random views: photograph, mask and trust see the same window; what lies outside is grey, void, not trusted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfactory.learning.augment import FILL, Crop, choose_crop, cut_map, cut_mask, cut_photograph, jitter_colours
from labelfactory.schema import VOID

SIDES = st.integers(1, 40)


@given(
    shape=st.tuples(SIDES, SIDES), size=st.integers(1, 48), low=st.integers(1, 64), more=st.integers(0, 32), seed=SIDES
)
def test_a_crop_lies_over_the_photograph(shape, size, low, more, seed):
    """The long side is in its range, the aspect kept; a small photograph lies whole inside the window."""
    crop = choose_crop(shape, size=size, long_side=(low, low + more), rng=np.random.default_rng(seed))
    assert low - 0.5 <= max(crop.height, crop.width) <= low + more + 0.5
    factor = max(crop.height, crop.width) / max(shape)
    assert abs(crop.height - shape[0] * factor) <= 1
    for start, side in ((crop.top, crop.height), (crop.left, crop.width)):
        assert min(0, side - size) <= start <= max(0, side - size)


@settings(deadline=None)
@given(shape=st.tuples(SIDES, SIDES), size=st.integers(1, 48), seed=st.integers(0, 99))
def test_photograph_mask_and_trust_show_the_same_window(shape, size, seed):
    """Inside the photograph all three hold values, outside all three hold their filling."""
    crop = choose_crop(shape, size=size, long_side=(8, 40), rng=np.random.default_rng(seed))
    photograph = cut_photograph(np.full((*shape, 3), 9, np.uint8), crop)
    mask = cut_mask(np.full((2, 3), 7, np.uint8), crop)
    trust = cut_map(np.full(shape, 255, np.uint8), crop)
    assert (photograph.shape, mask.shape, trust.shape) == ((size, size, 3), (size, size), (size, size))
    assert (photograph.dtype, mask.dtype, trust.dtype) == (np.uint8, np.uint8, np.float32)
    inside = mask == 7
    assert ((photograph == 9).all(axis=2) == inside).all()
    assert ((photograph == FILL).all(axis=2) == ~inside).all()
    assert (mask[~inside] == VOID).all()
    assert np.array_equal(trust, inside.astype(np.float32))
    assert inside.any()


@settings(deadline=None)
@given(seed=st.integers(0, 99))
def test_a_mirrored_window_is_the_mirror_of_the_window(seed):
    """To the pixel, for photograph and mask."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    crop = Crop(11, 15, int(rng.integers(-4, 5)), int(rng.integers(-4, 9)), 10, False)
    mirrored = Crop(crop.height, crop.width, crop.top, crop.left, crop.size, True)
    assert np.array_equal(cut_photograph(image, mirrored), cut_photograph(image, crop)[:, ::-1])
    assert np.array_equal(cut_mask(image[..., 0], mirrored), cut_mask(image[..., 0], crop)[:, ::-1])


def test_a_window_by_hand():
    """One row above and one column left of a 2×2 photograph that is not resized."""
    mask = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    assert cut_mask(mask, Crop(2, 2, -1, -1, 3, False)).tolist() == [[255, 255, 255], [255, 1, 2], [255, 3, 4]]
    assert cut_mask(mask, Crop(2, 2, 1, 0, 1, True)).tolist() == [[3]]


@given(labels=st.sets(st.integers(0, 255), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_resized_mask_holds_no_new_label(labels, seed):
    """Nearest only: no class is blended into another, no void into a class."""
    rng = np.random.default_rng(seed)
    mask = rng.choice(np.array(sorted(labels), np.uint8), (7, 5))
    crop = choose_crop((7, 5), size=20, long_side=(3, 30), rng=rng)
    assert set(np.unique(cut_mask(mask, crop)).tolist()) <= labels | {VOID}


@given(seed=st.integers(0, 99), strength=st.floats(0.01, 0.9))
def test_colours_change_and_the_generator_decides(seed, strength):
    """Same seed, same colours; strength 0 changes nothing; grey stays grey; values stay bytes."""
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    made = jitter_colours(image, strength, np.random.default_rng(seed))
    assert (made.dtype, made.shape) == (np.uint8, image.shape)
    assert np.array_equal(made, jitter_colours(image, strength, np.random.default_rng(seed)))
    assert np.array_equal(jitter_colours(image, 0, np.random.default_rng(seed)), image)
    grey = jitter_colours(np.repeat(image[..., :1], 3, axis=2), strength, np.random.default_rng(seed)).astype(int)
    assert np.ptp(grey, axis=2).max() <= 1


def test_brightness_by_hand(monkeypatch):
    """Factors 0.5, 1, 1: half of each value, rounded."""

    class Fixed:
        def uniform(self, low: float, high: float, size: int) -> np.ndarray:
            assert (low, high, size) == (0.5, 1.5, 3)
            return np.array([0.5, 1.0, 1.0])

    image = np.array([[[10, 20, 31]]], dtype=np.uint8)
    assert jitter_colours(image, 0.5, Fixed()).tolist() == [[[5, 10, 16]]]  # type: ignore[arg-type]
