"""True masks: numbered as the data set says, held against their digests."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from labelfactory.dataset.images import encode_mask
from labelfactory.dataset.truth import check_truth, has_truth, true_mask
from labelfactory.errors import DataError

VALUES = np.arange(30, dtype=np.uint8).reshape(5, 6)


@pytest.fixture
def record(workspace):
    """Photograph `a` with a mask of the pixel values 0 … 29."""
    data = encode_mask(VALUES)
    Path("m.png").write_bytes(data)
    return dataclasses.replace(workspace.records[0], mask_path="m.png", mask_sha256=hashlib.sha256(data).hexdigest())


def test_values_that_are_no_class_are_void(workspace, record):
    """8 is class 1, 12 class 2, 0 the background; all else is void."""
    dataset = dataclasses.replace(workspace.dataset(), mask_ids={0: 0, 8: 1, 12: 2})
    expected = np.full((5, 6), 255)
    expected[0, 0], expected[1, 2], expected[2, 0] = 0, 1, 2
    made = true_mask(record, dataset)
    assert made.dtype == np.uint8
    assert np.array_equal(made, expected)


def test_who_has_truth(workspace, record):
    """Whose mask the import names: one that is away for a moment does not make it a photograph without truth."""
    assert has_truth(record)
    assert not has_truth(workspace.records[0])
    Path("m.png").unlink()
    assert has_truth(record)


def test_true_masks_that_cannot_be_read_are_counted(workspace, record):
    """Away, a folder, a fifo, a file that this user may not read: the first by name, the number, what to type. None is opened."""
    check_truth([record], "Mend.")
    check_truth([], "Mend.")
    away = dataclasses.replace(record, mask_path="disk/away.png")
    Path("folder.png").mkdir()
    os.mkfifo("fifo.png")
    others = [dataclasses.replace(record, mask_path=name) for name in ("folder.png", "fifo.png")]
    with pytest.raises(DataError, match=r"^disk/away\.png: No such file or directory; 3 of 4 true masks .*\n.*Mend\.$"):
        check_truth([record, away, *others], "Mend.")
    Path("m.png").write_bytes(b"not a mask")
    check_truth([record], "Mend.")


def test_a_true_mask_without_the_right_to_read_it_counts(workspace, record, monkeypatch):
    """As root sees no such file, by what the system answers."""
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "m.png")
    with pytest.raises(DataError, match=r"m\.png: Permission denied; 1 of 1"):
        check_truth([record], "Mend.")


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("turned", range(1, 9))
def test_the_size_says_over_which_pixels_a_mask_was_drawn(workspace, record, turned, square):
    """One of the stored size alone is turned with its photograph; where both sizes are one, a mask is upright."""
    values = VALUES[:5, :5].copy() if square else VALUES
    stored = values.shape if turned < 5 else values.shape[::-1]
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.new("RGB", stored[::-1]).save(record.path, exif=exif)
    dataset = dataclasses.replace(workspace.dataset(), mask_ids={k: k for k in range(30)})
    for drawn in {stored: VALUES.reshape(6, 5) if stored == (6, 5) else values, values.shape: values}.values():
        Path("m.png").write_bytes(encode_mask(drawn))
        digest = hashlib.sha256(Path("m.png").read_bytes()).hexdigest()
        here = dataclasses.replace(record, mask_sha256=digest, height=values.shape[0], width=values.shape[1])
        expected = drawn
        if drawn.shape != values.shape:
            picture = Image.fromarray(drawn)
            picture.getexif()[0x0112] = turned
            expected = np.array(ImageOps.exif_transpose(picture))
        assert np.array_equal(true_mask(here, dataset), expected)


def test_a_bad_mask_is_an_error_with_its_path(workspace, record):
    """Missing, changed, of another size, not a mask; and a photograph without one."""
    dataset = workspace.dataset()
    with pytest.raises(DataError, match="a: has no true mask"):
        true_mask(workspace.records[0], dataset)
    with pytest.raises(DataError, match=r"m\.png: 6×5 pixels, its photograph 7×5"):
        true_mask(dataclasses.replace(record, width=7), dataset)
    Path("m.png").write_bytes(b"other")
    with pytest.raises(DataError, match=r"m\.png: changed"):
        true_mask(record, dataset)
    with pytest.raises(DataError, match=r"m\.png: not a readable mask"):
        true_mask(dataclasses.replace(record, mask_sha256=hashlib.sha256(b"other").hexdigest()), dataset)
    Image.new("RGB", (6, 5)).save("m.png")
    digest = hashlib.sha256(Path("m.png").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"m\.png: a mask must be a palette or grey image, this one is RGB"):
        true_mask(dataclasses.replace(record, mask_sha256=digest), dataset)
    Path("m.png").unlink()
    with pytest.raises(DataError, match=r"m\.png: No such file"):
        true_mask(record, dataset)
