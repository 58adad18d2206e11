"""Read and write pixels: photographs as RGB, masks as palette PNG.

Only `labelfactory.dataset.truth` opens true masks by name; two stages may import it.
"""

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from labelfactory.dataset.picture_files import opened_mask, opened_picture
from labelfactory.errors import DataError
from labelfactory.foreign_files import check_path, read_file, read_imported
from labelfactory.schema import Mask, palette

Photograph = NDArray[np.uint8]

MIN_SIDE = 4
"""Pixels; smaller photographs are refused."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation → transposition that turns stored pixels upright; 1 is upright."""


def decode_photograph(data: bytes) -> Photograph:
    """Decode a photograph: EXIF orientation applied, any mode converted to RGB, transparent pixels over white.

    Returns:
        [H, W, 3] uint8, writable.

    Raises:
        DataError: not an image, truncated, or a decompression bomb. The caller adds the file's name.
    """
    with opened_picture(data) as opened:
        opened.load()
        turned = _stated(opened)
        return np.array(_as_rgb(opened if turned == 1 else opened.transpose(_TURNS[turned])))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
        grey = np.array(image, dtype=np.int32)
        if grey.min() < 0 or grey.max() > 65535:
            raise DataError("pixels of 32 bits, at most 16 are read")
        grey *= 255  # in place: 64 megapixels are 256 MB
        grey += 32767
        grey //= 65535
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("pixels are floating-point numbers, at most 16 bits are read")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return image.convert("RGB")


def orientation(path: Path) -> int:
    """The EXIF orientation of a photograph, 1 to 8; 1 (upright) if its file states none."""
    try:
        return orientation_of(read_file(check_path(path, "read")))
    except DataError:  # a damaged photograph is reported where it is decoded
        return 1


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of a photograph, 1 to 8; 1 (upright) if its file states none.

    Raises:
        DataError: not an image.
    """
    with opened_picture(data) as opened:
        return _stated(opened)


def _stated(opened: Image.Image) -> int:
    """The orientation that a file states. Pixels are turned by it alone: Pillow's own function also writes EXIF again, and fails
    where a tag that is no matter cannot be written."""
    try:
        stated = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF that cannot be read at all: viewers show the pixels as they are stored
        return 1
    return stated if stated in _TURNS else 1


def upright(mask: Mask, turned: int) -> Mask:
    """Turn a mask like a photograph of EXIF orientation `turned`. [H, W] uint8, or [W, H] for 5 to 8."""
    return mask if turned == 1 else np.array(Image.fromarray(mask).transpose(_TURNS[turned]))


def fits_both_ways(size: tuple[int, int], turned: int) -> bool:
    """Whether stored and upright pixels have one size but lie differently, so that a mask's size does not say which it is over.

    Args:
        size: height and width of the photograph, upright.
        turned: its EXIF orientation.
    """
    return turned != 1 and (turned < 5 or size[0] == size[1])


def fitted(mask: Mask, size: tuple[int, int], photograph: Path) -> Mask:
    """A mask over its upright photograph: as it is where it has that size, else turned by the photograph's EXIF.

    Args:
        mask: [H, W] uint8.
        size: height and width of the photograph, upright.
        photograph: its file, which states its orientation.

    Raises:
        DataError: it has neither the upright nor the stored size.
    """
    if mask.shape == size:
        return mask
    turned = upright(mask, orientation(photograph)) if mask.shape == size[::-1] else mask
    if turned.shape != size:
        raise DataError(f"{mask.shape[1]}×{mask.shape[0]} pixels, its photograph {size[1]}×{size[0]}")
    return turned


def read_photograph(path: Path, sha256: str) -> Photograph:
    """Read a photograph and check its bytes against their digest in the import.

    Returns:
        [H, W, 3] uint8.

    Raises:
        DataError: missing, changed since the import, or not decodable.
    """
    data = read_imported(path, sha256)
    try:
        return decode_photograph(data)
    except DataError as error:
        raise DataError(f"{path}: {error.problem}", "Replace the file and import the images again.") from None


def shrink(image: Photograph, scale: float) -> Photograph:
    """The photograph at `scale` times its size, at most 1; each pixel is the mean of those that it replaces."""
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    smaller: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def encode_mask(mask: Mask) -> bytes:
    """Encode a mask of class ids as a palette PNG in VOC's colours. The same mask gives the same bytes.

    Args:
        mask: [H, W] uint8, 255 void.
    """
    image = Image.fromarray(mask, mode=None).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette(palette().tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def decode_mask(data: bytes) -> Mask:
    """Decode a palette or grey PNG into pixel values.

    Returns:
        [H, W] uint8, the numbers in the file, not its colours.

    Raises:
        DataError: not a PNG, or one in colours instead of numbers.
    """
    with opened_mask(data) as opened:
        return np.array(opened, dtype=np.uint8)
