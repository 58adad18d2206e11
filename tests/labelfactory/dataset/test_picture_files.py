"""Which pictures are opened: documented formats, so many pixels, and no error but our own."""

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from hostile_files import EPS, fake_ghostscript
from PIL import Image, PngImagePlugin

from labelfactory.dataset.images import decode_mask, decode_photograph, orientation, orientation_of
from labelfactory.dataset.map_files import read_map
from labelfactory.dataset.picture_files import opened_mask, opened_picture, suffix_of
from labelfactory.errors import DataError
from labelfactory.foreign_files import FORMATS

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def file_of(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(stream, format=kind, **options)
    return stream.getvalue()


def test_an_eps_that_is_called_jpg_starts_no_program(tmp_path):
    """Neither as a photograph nor as a mask, a map, or where only its orientation is asked for."""
    path = tmp_path / "a.jpg"
    path.write_bytes(EPS)
    with fake_ghostscript(tmp_path / "bin") as started:
        for read in (decode_photograph, decode_mask, suffix_of, orientation_of):
            with pytest.raises(DataError, match="not an image"):
                read(EPS)
        with pytest.raises(DataError, match="not an image"):
            read_map(Path("a.jpg"), tmp_path)
        assert orientation(path) == 1
        assert not started.exists()


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_documented_formats_are_opened(kind):
    """By their content; the suffix too follows from it."""
    data = file_of(kind)
    assert decode_photograph(data).shape == PIXELS.shape
    assert suffix_of(data) == FORMATS[kind][0]


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PDF", "JPEG2000", "PCX", "SGI", "EPS", "MSP"])
def test_other_formats_are_refused(kind):
    """Also those that Pillow knows."""
    image = Image.fromarray(PIXELS).convert("1") if kind == "MSP" else None
    with pytest.raises(DataError, match="not an image: not a JPEG, PNG, WebP, TIFF, BMP, PPM, GIF or AVIF"):
        decode_photograph(file_of(kind, image))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "BMP", "GIF"])
def test_a_mask_is_a_png(kind):
    """Of numbers in a format that loses none, as the documents say."""
    with pytest.raises(DataError, match="not a readable mask: not an image: not a PNG"):
        decode_mask(file_of(kind, Image.new("L", (3, 2))))


def test_a_photograph_of_two_pictures_is_a_jpeg():
    """Telephones write them; Pillow calls the format MPO."""
    data = file_of("MPO", save_all=True, append_images=[Image.fromarray(PIXELS)])
    assert decode_photograph(data).shape == PIXELS.shape
    assert suffix_of(data) == ".jpg"


@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
def test_a_picture_that_moves_is_no_photograph(kind):
    """A still one of the same format is."""
    moving = file_of(kind, save_all=True, append_images=[Image.fromarray(PIXELS[::-1].copy())])
    with pytest.raises(DataError, match=f"an animated {kind}"):
        decode_photograph(moving)
    assert decode_photograph(file_of(kind)).shape == PIXELS.shape


def test_a_heic_is_named():
    """What it is, and what to do; its decoder is not part of Pillow."""
    for data in (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\0\0\0\x1cftypmif1\0\0\0\0heic"):
        with pytest.raises(DataError, match="a HEIC photograph, which is not read: save it as JPEG"):
            decode_photograph(data)


def test_a_clip_behind_a_photograph_is_not_read():
    """Samsung's motion photographs: a JPEG, and an MP4 after its end."""
    data = file_of("JPEG")
    assert np.array_equal(decode_photograph(data + b"\0\0\0\x18ftypmp42" + bytes(500)), decode_photograph(data))


@pytest.mark.parametrize(
    "error", [struct.error("short"), RecursionError(), MemoryError(), IndexError("x"), AssertionError()]
)
def test_any_error_of_a_decoder_is_that_pictures(monkeypatch, error):
    """It stops no import and no run."""

    def fail(self: PngImagePlugin.PngImageFile) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fail)
    data = file_of("PNG")
    with pytest.raises(DataError, match=r"not decodable: \w+"):
        decode_photograph(data)
    with pytest.raises(DataError, match="not a readable mask: not decodable"):
        decode_mask(file_of("PNG", Image.new("L", (3, 2))))


@pytest.mark.parametrize("opened", [opened_picture, opened_mask])
def test_too_many_pixels_are_refused_whatever_python_does_with_warnings(opened):
    """Between the limit and twice the limit Pillow only warns, and a library may have silenced that."""
    data = file_of("PNG", Image.new("L", (10_000, 6_500)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match="too many pixels: more than 64 megapixels"), opened(data):
            pass
