"""Edited masks in the form "CVAT for images 1.1", which our export writes too: masks and polygons. There is no void.

Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/. A corner (0, 0) is that of the first pixel.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file
from labelfactory.schema import BACKGROUND, VOID, Mask
from sources._edited_mask import EditedMask, Load
from sources._edited_pngs import class_number
from sources._edited_regions import Drawn, Region, painted, polygon

LARGEST = 64_000_000
"""Pixels of an image, as of a photograph."""


def edited_cvat(path: Path, dataset: Dataset) -> Iterator[EditedMask]:
    """The masks of an annotations.xml.

    Raises:
        DataError: it is not readable or not of this form.
    """
    try:
        root = ElementTree.fromstring(read_file(path, largest=LARGEST_TABLE))
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not XML: {error}", 'Export it from CVAT as "CVAT for images 1.1".') from None
    images = root.findall("image")
    if not images:
        raise DataError(f"{path}: contains no <image>", 'Export it from CVAT as "CVAT for images 1.1".')
    for image in images:
        name = image.get("name") or ""
        yield EditedMask(
            f"{path.name}, {name}", (name,), _drawer(image, path, dataset), has_void=False, has_specks=False
        )


def _drawer(image: ElementTree.Element, path: Path, dataset: Dataset) -> Load:
    def load(record: ImageRecord) -> tuple[Mask, int]:
        try:
            width, height = int(image.get("width") or record.width), int(image.get("height") or record.height)
            if not (width > 0 and height > 0 and width * height <= LARGEST):
                raise ValueError(f"a size of {width}×{height}")
            drawn = [
                Drawn(_class(shape, path, dataset), _region(shape, height, width), int(shape.get("z_order") or 0))
                for shape in image
                if shape.tag != "tag"
            ]
        except (ValueError, TypeError, MemoryError) as error:
            raise DataError(f"a shape cannot be read: {error}") from None
        return painted(drawn, height, width), 0

    return load


def _class(shape: ElementTree.Element, path: Path, dataset: Dataset) -> int:
    label = shape.get("label") or ""
    return {"background": BACKGROUND, "void": VOID}.get(label) or (
        BACKGROUND if label == "background" else class_number(label, path, dataset)
    )


def _region(shape: ElementTree.Element, height: int, width: int) -> Region:
    if shape.tag == "polygon":
        corners = [[float(x) for x in pair.split(",")] for pair in (shape.get("points") or "").split(";")]
        return polygon(np.array(corners) - 0.5, height, width)
    if shape.tag != "mask":
        raise DataError(f"a <{shape.tag}> has no outline: draw a mask or a polygon")
    left, top, wide, high = (int(shape.get(side) or 0) for side in ("left", "top", "width", "height"))
    runs = [int(run) for run in (shape.get("rle") or "").split(",")]
    if min(left, top, wide, high, *runs) < 0 or sum(runs) != wide * high or left + wide > width or top + high > height:
        raise ValueError("the runs of a <mask> do not fill its box in the image")
    region = np.zeros((height, width), dtype=bool)
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    region[top : top + high, left : left + wide] = flat.reshape(high, wide)
    return region
