"""Masks as PNG files of other programs."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG of their own mode."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def other_palette(mask: np.ndarray, colours: Sequence[tuple[int, ...]], table: Sequence[int]) -> bytes:
    """A palette PNG; `table` gives the index of each number of the mask, `colours` the palette."""
    indices = np.array(table, dtype=np.uint8)[mask]
    image = Image.frombytes("P", mask.shape[::-1], indices.tobytes())
    image.putpalette([part for colour in colours for part in colour])
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
