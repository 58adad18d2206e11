"""Draw COCO's segmentations, polygons and RLE, into a mask."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from labelfactory.errors import DataError
from labelfactory.schema import VOID, Mask
from sources._coco_objects import is_crowd, polygons_of

LONGEST_OUTLINE = 5_000_000
"""Pixels along the sides of a polygon; pycocotools needs memory for each of them."""


def draw(annotations: Sequence[Mapping[str, Any]], numbers: Mapping[Any, int], height: int, width: int) -> Mask:
    """Draw the annotations of one image, one at a time: their number does not change the memory needed.

    Args:
        annotations: COCO annotations with category_id and segmentation.
        numbers: category → value in the mask; only a crowd's may be missing.
        height: pixels.
        width: pixels.

    Returns:
        [height, width] uint8; 0 is the background, 255 in crowds.

    Raises:
        DataError: a segmentation cannot be drawn.
    """
    none = height * width + 1
    drawn = np.zeros((height, width), dtype=np.uint8, order="F")  # by columns, as COCO's regions are
    areas = np.full((height, width), none, dtype=np.int32, order="F")  # of the object at each pixel
    for annotation in annotations:
        region = _region(annotation.get("segmentation"), height, width)
        if is_crowd(annotation):
            np.copyto(drawn, VOID, where=region & (areas == none))
            continue
        area = np.count_nonzero(region)
        region &= areas >= area  # of two of the same size, the later one
        np.copyto(drawn, numbers[annotation["category_id"]], where=region)
        np.copyto(areas, area, where=region)
    return np.ascontiguousarray(drawn)


def _region(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A segmentation as [height, width] bool. Polygons are clipped; parts of fewer than three corners have no area."""
    try:
        if isinstance(segmentation, dict):
            if run_size(segmentation) != (height, width):
                raise ValueError(f"its size is {segmentation['size']}, the image's {[height, width]}")
            return _fill(_runs(segmentation["counts"]), height, width)
        polygons = [[float(x) for x in polygon] for polygon in polygons_of(segmentation)]
        if any(len(p) % 2 or not np.isfinite(p).all() or np.abs(p).max() > 1e6 for p in polygons):
            raise ValueError("a polygon needs pairs of x and y in pixels")
        polygons = [p for p in polygons if len(p) >= 6]
        if not polygons:
            raise ValueError("a polygon needs three corners or more")
        if any(_outline(p) > LONGEST_OUTLINE for p in polygons):
            raise ValueError(f"the outline of a polygon is longer than {LONGEST_OUTLINE / 1e6:g} million pixels")
        region = np.zeros((height, width), dtype=bool, order="F")
        for polygon in polygons:
            region |= coco_mask.decode(coco_mask.frPyObjects([polygon], height, width))[:, :, 0].astype(bool)
        return region
    except Exception as error:  # pycocotools raises several kinds of errors
        raise DataError(f"a segmentation cannot be drawn: {error}") from None


def run_size(segmentation: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width that an RLE states.

    Raises:
        ValueError: it states none.
    """
    stated = segmentation.get("size")
    if not isinstance(stated, list | tuple) or len(stated) != 2:
        raise ValueError(f"its size is {str(stated)[:40]}, not height and width")
    height, width = (int(side) for side in stated)
    return height, width


def _outline(polygon: Sequence[float]) -> float:
    """The pixels along the sides of a polygon of x, y, x, y, …"""
    corners = np.asarray(polygon).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _fill(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """Alternating runs of 0 and 1, down the columns, as [height, width] bool.

    Not done by pycocotools, which writes beyond its memory if the runs do not fit the image.

    Raises:
        ValueError: a run is not a length, or the runs do not fill the image.
    """
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError("its runs do not fill the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, np.asarray(runs, dtype=np.int64))
    return np.asarray(flat.reshape(width, height).T)


def _runs(counts: Any) -> list[int]:
    """Run lengths, from a list or from COCO's string: 5 bits per character, differences to the run before the last.

    Raises:
        ValueError: the string is incomplete or has other characters.
    """
    if isinstance(counts, list):
        return counts
    text = counts if isinstance(counts, str) else bytes(counts).decode("ascii")
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is not a character of a run")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its last run is incomplete")
    return runs
