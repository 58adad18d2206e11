"""Confident labels of PSA and IRN: by hand without a CRF's smoothing, and laws with it."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from labelfactory.errors import ShapeError
from models.affinity_labels import irn, psa
from models.refinement._crf import CrfConfig

CRF = CrfConfig(steps=3, gaussian_sxy=3, gaussian_compat=3, bilateral_sxy=20, bilateral_srgb=13, bilateral_compat=10)
STILL = CRF.model_copy(update={"gaussian_compat": 0.0, "bilateral_compat": 0.0})


def at(foreground: float, background: float) -> dict[str, Any]:
    """The thresholds, on the whole photograph."""
    return {"thresholds": {"affinity_foreground": foreground, "affinity_background": background}, "scale": 1.0}


AT = at(0.5, 0.2)
METHODS = {
    "psa": (psa.confident_labels, {"alpha_low": 4.0, "alpha_high": 32.0}),
    "irn": (irn.confident_labels, {"gt_prob": 0.7}),
}
all_methods = pytest.mark.parametrize(("label", "options"), METHODS.values(), ids=METHODS)


def row_of(*values: float) -> np.ndarray:
    """[1, 1, W] CAM of one channel."""
    return np.array([[values]], dtype=np.float32)


def blank(width: int, height: int = 1) -> np.ndarray:
    return np.full((height, width, 3), 127, dtype=np.uint8)


def test_irn_by_hand():
    """Under 0.2 background, over 0.5 the class, void between."""
    cam = row_of(0.0, 0.19, 0.21, 0.49, 0.51, 1.0)
    labels = irn.confident_labels(blank(6), cam, crf=STILL, gt_prob=0.7, **AT)
    assert labels.tolist() == [[0, 0, 255, 255, 1, 1]]


def test_psa_by_hand():
    """c against (1-c)^4: even at c = 0.2755; against (1-c)^32: even at 0.0770; the two mark the borders of void."""
    cam = row_of(0.0, 0.07, 0.08, 0.27, 0.28, 1.0)
    labels = psa.confident_labels(blank(6), cam, crf=STILL, alpha_low=4, alpha_high=32, **AT)
    assert labels.tolist() == [[0, 0, 255, 255, 1, 1]]


@all_methods
def test_the_label_is_the_number_of_the_channel(label, options):
    """Channel k gives k + 1."""
    cam = np.zeros((3, 1, 4), dtype=np.float32)
    cam[2, 0, 0] = cam[0, 0, 1] = cam[1, 0, 2] = 0.9
    assert label(blank(4), cam, crf=STILL, **options, **AT).tolist() == [[3, 1, 2, 0]]


def test_irn_takes_the_labels_refined_at_both_thresholds():
    """On a two-coloured image the CRF fills the coloured half from a seed that covers most of it."""
    image = blank(20, 12)
    image[:, 10:] = (200, 40, 40)
    cam = np.zeros((1, 12, 20), dtype=np.float32)
    cam[:, :, 11:] = 0.9
    labels = irn.confident_labels(image, cam, crf=CRF, gt_prob=0.7, **AT)
    assert (labels[:, 10:] == 1).all()
    assert (labels[:, :10] == 0).all()


def test_irn_keeps_the_foreground_where_the_low_threshold_sees_background(monkeypatch):
    """Background is only what both labellings call so, as the authors' code has it."""
    answers = iter([np.array([[1, 0, 1, 0]]), np.array([[0, 0, 1, 1]])])
    monkeypatch.setattr(irn, "_crf_argmax", lambda *_: next(answers))
    cam = np.zeros((1, 1, 4), dtype=np.float32)
    labels = irn.confident_labels(blank(4), cam, crf=STILL, gt_prob=0.7, **AT)
    assert labels.tolist() == [[1, 0, 1, 255]]


@all_methods
@given(
    cam=arrays(np.float32, st.tuples(st.integers(1, 3), st.just(6), st.just(7)), elements=st.floats(0, 1, width=32)),
    crf=st.sampled_from([CRF, STILL]),
)
@settings(deadline=None, max_examples=25)
def test_labels_are_channels_background_or_void(label, options, cam, crf):
    """uint8 of the image's size; nothing else can come out; read-only arrays are taken."""
    image = np.random.default_rng(0).integers(0, 256, size=(6, 7, 3), dtype=np.uint8)
    image.flags.writeable = cam.flags.writeable = False
    labels = label(image, cam, crf=crf, **options, **AT)
    assert labels.dtype == np.uint8
    assert labels.shape == (6, 7)
    assert set(np.unique(labels)) <= {0, 255, *range(1, len(cam) + 1)}


@given(
    cam=arrays(np.float32, (2, 5, 5), elements=st.floats(0, 1, width=32)),
    cuts=st.tuples(st.floats(0.05, 0.95), st.floats(0, 0.5)),
)
@settings(deadline=None, max_examples=25)
def test_wider_thresholds_only_add_void(cam, cuts):
    """Without smoothing, moving both thresholds apart never turns one label into another."""
    foreground, gap = cuts
    narrow = irn.confident_labels(blank(5, 5), cam, crf=STILL, gt_prob=0.7, **at(foreground, foreground))
    wide = irn.confident_labels(blank(5, 5), cam, crf=STILL, gt_prob=0.7, **at(foreground + gap, foreground - gap))
    assert not (narrow == 255).any()
    assert ((wide == narrow) | (wide == 255)).all()


@all_methods
def test_an_image_without_tags_is_all_background(label, options):
    """K = 0 is a legal negative."""
    labels = label(blank(5, 4), np.zeros((0, 4, 5), dtype=np.float32), crf=CRF, **options, **AT)
    assert labels.shape == (4, 5)
    assert labels.dtype == np.uint8
    assert not labels.any()


@all_methods
def test_a_cam_of_another_size_is_refused(label, options):
    """Also when it has no channel."""
    for channels in (0, 1):
        with pytest.raises(ShapeError):
            label(blank(5, 4), np.zeros((channels, 5, 4), dtype=np.float32), crf=CRF, **options, **AT)
