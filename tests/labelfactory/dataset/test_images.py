"""Photographs and masks, in and out of files."""

import hashlib
import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import masks

from labelfactory.dataset.images import (
    decode_mask,
    decode_photograph,
    encode_mask,
    orientation,
    orientation_of,
    read_photograph,
    upright,
)
from labelfactory.errors import DataError
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


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_not_clipped(kind):
    """0, a half and all of 65535; 257 steps of sixteen bits are one of eight."""
    grey = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    decoded = decode_photograph(file_of(Image.fromarray(grey), kind))
    assert decoded[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_transparent_pixels_are_white():
    """What lies hidden under them is nobody's photograph."""
    pixels = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8)
    assert decode_photograph(file_of(Image.fromarray(pixels))).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    palette_image = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("L")
    palette_image = Image.frombytes("P", (2, 1), palette_image.tobytes())
    palette_image.putpalette([10, 20, 30, 40, 50, 60])
    decoded = decode_photograph(file_of(palette_image, transparency=1))
    assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_print_colours_are_turned_into_light():
    """CMYK without ink is white, with all black ink black."""
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], dtype=np.uint8)
    image = Image.frombytes("CMYK", (2, 1), inks.tobytes())
    assert decode_photograph(file_of(image, "TIFF")).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_every_format_is_read(kind):
    """A flat field comes back as it was, whatever packs it."""
    flat = np.full((16, 16, 3), (200, 120, 40), dtype=np.uint8)
    decoded = decode_photograph(file_of(Image.fromarray(flat), kind))
    assert np.abs(decoded.astype(int) - flat).max() <= 4


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_mask_is_turned_as_its_photograph(tmp_path, turned, kind):
    """All eight orientations: the bright corner of the photograph and of the mask stay in one place."""
    stored = np.zeros((16, 32), dtype=np.uint8)
    stored[:8, :16] = 200
    exif = Image.Exif()
    exif[0x0112] = turned
    path = tmp_path / "a.img"
    path.write_bytes(file_of(Image.fromarray(np.dstack([stored] * 3)), kind, exif=exif))
    assert orientation(path) == turned
    seen = decode_photograph(path.read_bytes())[:, :, 0] > 100
    assert np.array_equal(upright((stored > 0).astype(np.uint8), turned) > 0, seen)


SLIPS = {
    "a rational -1/0": (0x011A, 10, 1, (-1, 0), "ii"),
    "a unit of 70000": (0x0128, 4, 1, (70000,), "I"),
    "a software that is a number": (0x0131, 4, 1, (7,), "I"),
    "a text that is a fraction": (0x010E, 5, 1, (1, 2), "II"),
}


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("turned", [3, 6])
def test_exif_that_cannot_be_written_again_turns_all_the_same(slip, turned):
    """As every viewer shows it: a slip in another tag says nothing about the orientation. Pillow alone fails here."""
    tag, kind, count, numbers, packed = SLIPS[slip]
    value = struct.pack(f"<{packed}", *numbers)
    place = 10 + 2 + 2 * 12 + 4 - 2  # behind header and both entries
    entries = sorted([(0x0112, 3, 1, struct.pack("<HH", turned, 0)),
                      (tag, kind, count, value if len(value) <= 4 else struct.pack("<I", place))])  # fmt: skip
    tiff = b"II*\0" + struct.pack("<IH", 8, 2)
    tiff += b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries) + struct.pack("<I", 0)
    assert len(tiff) == place
    data = file_of(Image.fromarray(np.tile(PIXELS, (8, 8, 1))), "JPEG", exif=b"Exif\0\0" + tiff + value, quality=95)
    plain = file_of(Image.fromarray(np.tile(PIXELS, (8, 8, 1))), "JPEG", quality=95)
    assert orientation_of(data) == turned
    assert np.array_equal(decode_photograph(data), upright_pixels(decode_photograph(plain), turned))


def upright_pixels(pixels: np.ndarray, turned: int) -> np.ndarray:
    return np.dstack([upright(np.ascontiguousarray(pixels[:, :, k]), turned) for k in range(3)])


def test_exif_that_is_no_exif_turns_nothing():
    """Viewers show the pixels as they are stored."""
    data = file_of(Image.fromarray(PIXELS), "PNG", exif=b"Exif\0\0no TIFF at all")
    assert np.array_equal(decode_photograph(data), PIXELS)


def test_a_photograph_without_exif_is_upright(tmp_path):
    """So is what cannot be read: whoever reads it says why."""
    (tmp_path / "a.png").write_bytes(file_of(Image.fromarray(PIXELS)))
    (tmp_path / "b.png").write_bytes(b"no image")
    assert [orientation(tmp_path / name) for name in ("a.png", "b.png", "c.png")] == [1, 1, 1]


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=80), place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_mask_is_an_array_or_a_data_error(data, place, value):
    """Random bytes, and one wrong byte in a good mask: nothing else comes out of the decoder."""
    damaged = bytearray(encode_mask(np.arange(12, dtype=np.uint8).reshape(3, 4)))
    damaged[int(place * len(damaged))] = value
    for candidate in (data, bytes(damaged)):
        problem = "none"
        try:
            shape = decode_mask(candidate).shape
        except DataError as error:
            shape, problem = (0, 0), error.problem
        assert problem
        assert len(shape) == 2


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
