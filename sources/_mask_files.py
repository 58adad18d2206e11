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

from labelfactory.dataset.picture_files import MASKS, NUMBERS, opened_picture
from labelfactory.errors import DataError
from labelfactory.schema import BACKGROUND, VOID, palette

UNKNOWN = -1
"""In place of a value: it has no meaning."""
Values = NDArray[np.int64]


@dataclass(frozen=True)
class MaskFile:
    """The pixels of a mask, by the distinct ones among them."""

    mode: str  # as Pillow calls it
    places: NDArray[np.integer]  # [H, W]: which of the pixels below
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
            if opened.mode in ("RGB", "RGBA", "LA") or (opened.mode != "P" and "transparency" in opened.info):
                return _in_channels(opened)
            return _in_numbers(opened)
    except DataError as error:
        raise DataError(f"not a readable mask: {error.problem}") from None


def _in_numbers(opened: Image.Image) -> MaskFile:
    """A palette or grey PNG; of a palette, some numbers may be transparent."""
    pixels = _bytes_of(opened)
    numbers = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    places = np.zeros(256, dtype=np.uint8)
    places[numbers] = np.arange(len(numbers))
    opacity = np.full(256, 255, dtype=np.int64)
    if opened.mode == "P":
        stated = opened.info.get("transparency", b"")
        listed = list(stated) if isinstance(stated, bytes) else []
        opacity[: len(listed)] = listed
        if isinstance(stated, int):
            opacity[stated] = 0
        colours = _palette(opened)[numbers]
    else:
        colours = numbers * (0xFFFFFF if opened.mode == "1" else 0x010101)
    return MaskFile(opened.mode, places[pixels], numbers, colours, _erased(opacity[numbers]))


def _bytes_of(opened: Image.Image) -> NDArray[np.uint8]:
    """[H, W] numbers; 16 bits only where they say no more than 8 do."""
    if not opened.mode.startswith("I"):
        if opened.mode not in NUMBERS:
            raise DataError(f"a mask must be of numbers or colours, this one is {opened.mode}")
        return np.array(opened, dtype=np.uint8)
    wide = np.array(opened, dtype=np.int32)
    if wide.max(initial=0) > 255 and np.any(wide % 257):
        raise DataError("numbers above 255, which are no classes")
    return (wide // 257 if wide.max(initial=0) > 255 else wide).astype(np.uint8)


def _in_channels(opened: Image.Image) -> MaskFile:
    """A PNG in red, green and blue, or grey, with or without opacity."""
    channels = np.array(opened.convert("RGBA"))
    keys = np.zeros(channels.shape[:2], dtype=np.int32)
    for channel in range(3):
        keys = keys << 8 | channels[:, :, channel]
    erased = _erased(channels[:, :, 3])
    found, places = np.unique(keys | erased.astype(np.int32) << 24, return_inverse=True)
    colours = found.astype(np.int64) & 0xFFFFFF
    grey = colours // 0x010101
    numbers = grey if np.array_equal(grey * 0x010101, colours) else None
    return MaskFile(opened.mode, places.reshape(keys.shape), numbers, colours, found >> 24 == 1)


def _erased(opacity: NDArray[np.integer]) -> NDArray[np.bool_]:
    if np.any((opacity > 0) & (opacity < 255)):
        raise DataError("pixels that are half transparent, which is neither a class nor the background")
    gone: NDArray[np.bool_] = opacity == 0
    return gone


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
