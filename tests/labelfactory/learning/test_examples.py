"""Training sets: what a network sees of a photograph, its tags, its mask and the trust in it."""

import hashlib

import cv2
import numpy as np
import pytest
import torch

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.learning.examples import CropSection, MaskExamples, TagExamples
from labelfactory.schema import VOID, Classes

VIEW = CropSection(crop=33, long_side_min=32, long_side_max=64, colour_jitter=0.2)
PLAIN = CropSection(crop=33, long_side_min=40, long_side_max=40, colour_jitter=0.0)


@pytest.fixture
def record(tmp_path):
    """A photograph whose left half is dark and whose right half is bright."""
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, 20:] = 200
    path = tmp_path / "half.png"
    cv2.imwrite(str(path), image)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return ImageRecord(
        "half", str(path), digest, ("train",), ("dog",), None, None, 0, 40, 30, "train", 0, "ok", ""
    )  # fmt: skip


def halves(record):
    """The mask that says what the photograph shows: 0 left, 1 right; and a trust of 51 / 255 everywhere."""
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 20:] = 1
    return mask, np.full((8, 10), 51, np.uint8)


def test_tags_become_a_vector_and_the_image_keeps_its_range(record):
    """The target has a 1 at the tagged class alone; pixels are float32 in [0, 255]."""
    batch = TagExamples([record], Classes(("cat", "dog")), VIEW).get(0, np.random.default_rng(0))
    assert batch["target"].tolist() == [0.0, 1.0]
    assert batch["image"].shape == (3, 33, 33)
    assert batch["image"].dtype == torch.float32
    assert 0 <= float(batch["image"].min()) <= float(batch["image"].max()) <= 255


def test_the_same_generator_gives_the_same_view_and_another_gives_another(record):
    """A view is a function of the record and the generator alone."""
    examples = MaskExamples([record], halves, VIEW)
    first, again, other = (examples.get(0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize("seed", range(12))
def test_image_mask_and_trust_are_cut_alike(record, seed):
    """Wherever the mask says right the picture is bright, mirrored or not; outside both are void and without trust."""
    batch = MaskExamples([record], halves, PLAIN).get(0, np.random.default_rng(seed))
    mask, grey, trust = batch["mask"].numpy(), batch["image"].mean(0).numpy(), batch["trust"].numpy()
    assert (grey[mask == 1] == 200).all()
    assert (grey[mask == 0] == 0).all()
    assert (grey[mask == VOID] == 127).all()
    assert (trust[mask == VOID] == 0).all()
    np.testing.assert_allclose(trust[mask != VOID], 0.2, atol=1e-3)
    assert (mask == 0).any() or (mask == 1).any()


def test_without_trust_every_place_counts_one(record):
    """A reader that gives no trust weighs all pixels alike."""
    examples = MaskExamples([record], lambda r: (halves(r)[0], None), PLAIN)
    assert examples.get(0, np.random.default_rng(0))["trust"].unique().tolist() == [1.0]


def test_least_above_most_is_refused():
    """A range that is empty is an error of the parameters."""
    with pytest.raises(ValueError, match="long_side_min is above long_side_max"):
        CropSection(crop=33, long_side_min=65, long_side_max=64, colour_jitter=0.0)


def test_channels_come_first():
    """[H, W, 3] becomes [3, H, W] with the colours in their order."""
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert torch.equal(to_tensor(image)[1], torch.from_numpy(image[..., 1]).float())
