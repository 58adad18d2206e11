"""Masks as results of a command, outside of the project: palette PNGs that the same command may replace."""

import io
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labelfactory.dataset.images import encode_mask
from labelfactory.destinations import PNG_TEXT, blank_seal, write_sealed
from labelfactory.schema import Mask


def write_mask(path: Path, mask: Mask, command: str, remedy: str) -> None:
    """Write a mask with the seal of a command, whole or not at all; raises as `write_sealed`."""
    text = PngInfo()
    text.add_text(PNG_TEXT, blank_seal(command))
    with write_sealed(path, command, remedy) as temporary, Image.open(io.BytesIO(encode_mask(mask))) as image:
        image.save(temporary, format="PNG", pnginfo=text, compress_level=6)
