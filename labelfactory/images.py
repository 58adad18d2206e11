"""Pixels in and out of files: photographs as RGB, masks as palette PNG.

Nothing here opens a true mask by name; that is `labelfactory.truth`, which two stages may import.
"""

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.schema import Mask, palette

Photograph = NDArray[np.uint8]

Image.MAX_IMAGE_PIXELS = 200_000_000


def decode_photograph(data: bytes) -> Photograph:
    """Decode a photograph: EXIF orientation applied, any mode turned into RGB.

    Returns:
        [H, W, 3] uint8, writable.

    Raises:
        DataError: not an image, truncated, or a decompression bomb. The caller knows the file's name.
    """
    if not data:
        raise DataError("the file is empty")
    try:
        with Image.open(io.BytesIO(data)) as opened:
            upright = ImageOps.exif_transpose(opened)
            return np.array(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise DataError("not an image") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"too many pixels: {error}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"not decodable: {error}") from None


def read_photograph(path: Path, sha256: str) -> Photograph:
    """Read a photograph and hold its bytes against the digest it was imported with.

    Returns:
        [H, W, 3] uint8.

    Raises:
        DataError: missing, changed since the import, or not decodable.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "Restore the file or import the images again.") from None
    if digest_bytes(data) != sha256:
        raise DataError(
            f"{path}: changed since it was imported", "Type `labelfactory import …` again, then `dvc repro`."
        )
    try:
        return decode_photograph(data)
    except DataError as error:
        raise DataError(f"{path}: {error.problem}", "Replace the file and import the images again.") from None


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
        DataError: not an image, or one in colours instead of numbers.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.mode not in ("P", "L"):
                raise DataError(f"a mask must be a palette or grey image, this one is {opened.mode}")
            return np.array(opened, dtype=np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"not a readable mask: {error}") from None
