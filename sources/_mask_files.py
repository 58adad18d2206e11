"""A mask that another program wrote: the number and the colour of each of its pixels, before anybody says what they mean.

A palette PNG has both, a grey one numbers, one in RGB colours. Editors and scripts turn one into the other without a word, so that
the same class may come as 1, as (128, 0, 0), as the grey 38 of that colour, or as 255 for the only class.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelfactory.dataset.picture_files import MASKS, opened_picture
from labelfactory.errors import DataError
from labelfactory.schema import BACKGROUND, VOID, palette

UNKNOWN = -1
"""In place of a value: it has no meaning."""
Values = NDArray[np.int64]


@dataclass(frozen=True)
class MaskFile:
    """The pixels of a mask, by the distinct ones among them."""

    mode: str  # as Pillow calls it
    places: NDArray[np.intp]  # [H, W]: which of the pixels below
    numbers: Values | None  # [n] palette index or grey, 0 to 255; None for colours that are not all grey
    colours: Values  # [n] red << 16 | green << 8 | blue
    erased: NDArray[np.bool_]  # [n] transparent

    @property
    def counts(self) -> Values:
        """[n] how many pixels."""
        return np.bincount(self.places.ravel(), minlength=len(self.colours))

    @property
    def in_colours(self) -> bool:
        """Whether it was written in red, green and blue."""
        return self.mode.startswith("RGB")


def read_mask_file(data: bytes) -> MaskFile:
    """Read a mask.

    Raises:
        DataError: not a PNG, numbers of more than 8 bits, or half transparent.
    """
    try:
        with opened_picture(data, formats=MASKS) as opened:
            mode, pixels, alpha = opened.mode, *_pixels(opened)
            table = _palette(opened) if mode == "P" else None
    except DataError as error:
        raise DataError(f"not a readable mask: {error.problem}") from None
    if np.any((alpha > 0) & (alpha < 255)):
        raise DataError("pixels that are half transparent, which is neither a class nor the background")
    keys, places = np.unique(pixels | (alpha == 0).astype(np.int64) << 24, return_inverse=True)
    erased, values = keys >> 24 == 1, keys & 0xFFFFFF
    if mode.startswith("RGB"):
        grey = values // 0x010101
        numbers, colours = (grey if np.array_equal(grey * 0x010101, values) else None), values
    else:
        shown = values * 255 if mode == "1" else values
        numbers, colours = values, table[values] if table is not None else shown * 0x010101
    return MaskFile(mode, places.reshape(pixels.shape), numbers, colours, erased)


def _pixels(opened: Image.Image) -> tuple[Values, Values]:
    """[H, W] numbers or colours, and opacity of 0 to 255."""
    if opened.mode in ("RGB", "RGBA", "LA") or (opened.mode == "L" and "transparency" in opened.info):
        wide = np.array(opened.convert("RGBA"), dtype=np.int64)
        colours = wide[:, :, 0] if opened.mode in ("L", "LA") else wide[:, :, :3] @ np.array([65536, 256, 1])
        return colours, wide[:, :, 3]
    pixels = np.array(opened, dtype=np.int64)
    alpha = np.full(pixels.shape, 255, dtype=np.int64)
    if opened.mode == "P":
        stated = opened.info.get("transparency", b"")
        opacity = np.full(256, 255, dtype=np.int64)
        if isinstance(stated, int):
            opacity[stated] = 0
        else:
            opacity[: len(stated)] = list(stated)
        alpha = opacity[pixels]
    elif opened.mode.startswith("I"):
        if pixels.max(initial=0) > 255:
            if np.any(pixels % 257):
                raise DataError("numbers above 255, which are no classes")
            pixels //= 257
    elif opened.mode not in ("L", "1"):
        raise DataError(f"a mask must be of numbers or colours, this one is {opened.mode}")
    return pixels, alpha


def _palette(opened: Image.Image) -> Values:
    """[256] colours; unstated ones are black."""
    stated = np.zeros((256, 3), dtype=np.int64)
    listed = np.array(opened.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)[:256]
    stated[: len(listed)] = listed
    colours: Values = stated @ np.array([65536, 256, 1])
    return colours


# --- what they mean ---------------------------------------------------------------------------------------------------


def colour_of(number: int) -> int:
    """VOC's colour of a number."""
    red, green, blue = (int(part) for part in palette()[number])
    return red << 16 | green << 8 | blue


def shown(colour: int) -> str:
    """`(128, 0, 0)`."""
    return f"({colour >> 16}, {colour >> 8 & 255}, {colour & 255})"


def looked_up(keys: Values, table: Mapping[int, int]) -> Values:
    """[n] the value of each key; UNKNOWN for those that have none."""
    return np.array([table.get(int(key), UNKNOWN) for key in keys], dtype=np.int64)


def has_our_palette(file: MaskFile, colours: Mapping[int, int]) -> bool:
    """Whether each number of a palette PNG has its own colour, or the palette is a ramp of greys, which says nothing.

    Args:
        file: with numbers.
        colours: number → its colour.
    """
    if file.numbers is None:
        return False
    own = looked_up(file.numbers, colours)
    return np.array_equal(own, file.colours) or np.array_equal(file.numbers * 0x010101, file.colours)


def with_erased(values: Values, file: MaskFile) -> Values:
    """Transparent pixels are the background, except those that keep a class's colour, which may be either: UNKNOWN."""
    return np.where(file.erased, np.where(values > BACKGROUND, UNKNOWN, BACKGROUND), values)


@cache
def greys() -> Mapping[int, int]:
    """Number → the grey of its colour in VOC, as `convert("L")` and OpenCV compute it."""
    image = Image.fromarray(palette().reshape(1, 256, 3).copy())
    return {number: int(grey) for number, grey in enumerate(np.array(image.convert("L"))[0])}


def value_of_grey(numbers: Mapping[int, str]) -> dict[int, int]:
    """Grey → value of the class, for those classes whose colours have greys of their own; 0 and void stay what they are."""
    found: dict[int, int] = {}
    for number in (*numbers, BACKGROUND, VOID):
        grey = greys()[number]
        found[grey] = UNKNOWN if grey in found else number
    return found
