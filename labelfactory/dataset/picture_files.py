"""Open a picture that somebody else made: documented formats alone, a limit of pixels, and one kind of error."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, UnidentifiedImageError

from labelfactory.errors import DataError
from labelfactory.foreign_files import FORMATS

Image.MAX_IMAGE_PIXELS = 64_000_000
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # they name a line of Pillow, not the picture
warnings.simplefilter("error", Image.DecompressionBombWarning)  # refused by the header, before decoding

MASKS = ("PNG",)
"""Formats of masks."""
NUMBERS = ("P", "L", "1")
"""Modes of masks, as Pillow calls them: palette, grey, and 0 and 1 in a bit each."""
NAMES = "JPEG, PNG, WebP, TIFF, BMP, PPM, GIF or AVIF"
STILL = ("GIF", "AVIF")
"""Formats in which only a still picture is a photograph; those of several pages or views (TIFF, MPO) show the first."""


HEIF = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""Brands of the photographs of telephones that need a decoder of HEVC; with `mif1`, AVIF too where Pillow cannot read it."""


@contextmanager
def opened_picture(data: bytes, *, formats: Sequence[str] = tuple(FORMATS)) -> Iterator[Image.Image]:
    """Open a picture from the bytes of its file; pixels are decoded by the caller, inside.

    Pillow alone would try all its formats, some of which start other programs.

    Args:
        data: the file.
        formats: as Pillow calls them.

    Raises:
        DataError: the file is empty, of no such format, or has too many pixels; or the decoder fails, in whatever way.
    """
    if not data:
        raise DataError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=list(formats)) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or 0):
                raise Image.DecompressionBombError
            if opened.format in STILL and getattr(opened, "is_animated", False):
                raise DataError(f"an animated {opened.format}: no photograph, which has one picture")
            yield opened
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(_no_format(data, formats)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"too many pixels: more than {(Image.MAX_IMAGE_PIXELS or 0) / 1e6:g} megapixels") from None
    except Exception as error:  # a decoder may raise anything on a hostile file
        raise DataError(f"not decodable: {str(error) or type(error).__name__}") from None


def _no_format(data: bytes, formats: Sequence[str]) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in HEIF and len(formats) > 1:
        return "a HEIC photograph, which is not read: save it as JPEG"
    return f"not an image: not a {NAMES if len(formats) > 1 else formats[0]}"


@contextmanager
def opened_mask(data: bytes) -> Iterator[Image.Image]:
    """Open a mask, whose pixels are numbers.

    Raises:
        DataError: not a PNG, or one in colours instead of numbers.
    """
    mode = ""
    try:
        with opened_picture(data, formats=MASKS) as opened:
            mode = opened.mode
            if mode in NUMBERS:
                yield opened
    except DataError as error:
        raise DataError(f"not a readable mask: {error.problem}") from None
    if mode not in NUMBERS:
        raise DataError(f"a mask must be a palette or grey image, this one is {mode}")


def suffix_of(data: bytes) -> str:
    """The suffix of a picture by its content.

    Raises:
        DataError: as `opened_picture`.
    """
    with opened_picture(data) as opened:
        return FORMATS.get(opened.format or "", FORMATS["JPEG"])[0]  # MPO, of two pictures, is a JPEG
