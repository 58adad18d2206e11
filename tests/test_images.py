"""Photographs and masks, in and out of files."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import masks

from labelfactory.errors import DataError
from labelfactory.images import decode_mask, decode_photograph, encode_mask, read_photograph
from labelfactory.schema import palette


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **options)
    return stream.getvalue()


@given(mask=masks(255))
def test_a_mask_comes_back_as_it_was(mask):
    """Every class id and void; the same mask gives the same bytes."""
    data = encode_mask(mask)
    assert np.array_equal(decode_mask(data), mask)
    assert decode_mask(data).dtype == np.uint8
    assert encode_mask(np.asfortranarray(mask)) == data


def test_a_mask_is_a_palette_png_in_vocs_colours():
    """Any viewer shows it; any reader gets numbers."""
    with Image.open(io.BytesIO(encode_mask(np.array([[0, 1, 255]], dtype=np.uint8)))) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "P", (3, 1))
        assert np.array_equal(np.array(opened.convert("RGB"))[0], palette()[[0, 1, 255]])


def test_a_grey_mask_is_read_as_numbers():
    """Not every data set has palettes."""
    assert decode_mask(file_of(Image.fromarray(np.array([[0, 7]], dtype=np.uint8)))).tolist() == [[0, 7]]


@pytest.mark.parametrize(
    "data", [b"", b"no image", file_of(Image.new("RGB", (2, 2))), encode_mask(np.ones((9, 9), np.uint8))[:60]]
)
def test_what_is_no_mask_is_refused(data):
    """Colours are not numbers; a file that was cut is not a mask."""
    with pytest.raises(DataError):
        decode_mask(data)


PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 3), dtype=np.uint8)


def test_a_photograph_is_rgb_and_writable():
    """In the order of height, width, channel."""
    decoded = decode_photograph(file_of(Image.fromarray(PIXELS)))
    assert np.array_equal(decoded, PIXELS)
    assert decoded.flags.writeable


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1", "I;16"])
def test_any_mode_becomes_rgb(mode):
    """Grey, palette, transparent, print and 16-bit photographs occur in every large set."""
    image = Image.new(mode, (3, 4)) if mode == "I;16" else Image.fromarray(PIXELS).convert(mode)
    decoded = decode_photograph(file_of(image, "TIFF"))
    assert (decoded.shape, decoded.dtype) == ((4, 3, 3), np.uint8)


def test_exif_orientation_is_applied():
    """Orientation 6: the camera was turned; the stored first row is the right column."""
    image = Image.fromarray(PIXELS)
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_photograph(file_of(image, exif=exif))
    assert np.array_equal(decoded, np.rot90(PIXELS, k=-1))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG"]), place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_photograph_is_an_array_or_a_data_error(kind, place, value):
    """Nothing else comes out of the decoder."""
    data = bytearray(file_of(Image.fromarray(PIXELS), kind))
    data[int(place * len(data))] = value
    problem = "none"
    try:
        shape = decode_photograph(bytes(data)).shape
    except DataError as error:
        shape, problem = (0, 0, 3), error.problem
    assert problem
    assert (len(shape), shape[2]) == (3, 3)


def test_too_many_pixels_are_refused(monkeypatch):
    """A file of a few bytes may unpack to gigabytes."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(DataError, match="too many pixels"):
        decode_photograph(file_of(Image.fromarray(PIXELS)))


def test_a_photograph_is_held_against_its_digest(tmp_path):
    """Missing, changed and undecodable ones are named by their path."""
    path = tmp_path / "x.png"
    with pytest.raises(DataError, match=r"x\.png: No such file"):
        read_photograph(path, "0" * 64)
    data = file_of(Image.fromarray(PIXELS))
    path.write_bytes(data)
    assert np.array_equal(read_photograph(path, hashlib.sha256(data).hexdigest()), PIXELS)
    path.write_bytes(data + b"\0")
    with pytest.raises(DataError, match=r"x\.png: changed since it was imported"):
        read_photograph(path, hashlib.sha256(data).hexdigest())
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"x\.png: not an image"):
        read_photograph(path, hashlib.sha256(b"text").hexdigest())
