"""The true mask of one image of a COCO file, drawn when it is asked for, at a size that its photograph has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labelfactory.dataset.images import encode_mask, orientation_of
from labelfactory.dataset.picture_files import opened_picture
from labelfactory.errors import DataError
from sources._coco_drawing import draw, run_size
from sources._coco_objects import Annotation, polygons_of

Size = tuple[int, int]  # height, width


def stated_size(record: Mapping[str, Any]) -> Size | None:
    """Height and width that a file states for an image; numbers may be text. None if it states neither, or 0 for both.

    Raises:
        ValueError: only one of them is there, or they are no numbers of pixels.
    """
    stated = (record.get("height"), record.get("width"))
    if all(_is_empty(side) for side in stated):
        return None
    height, width = (_pixels(side) for side in stated)
    if not height or not width:
        shown = f"{str(stated[1])[:20]}×{str(stated[0])[:20]}"
        raise ValueError(f"its size is {shown}, not two numbers of pixels")
    return height, width


def _is_empty(side: Any) -> bool:
    return side is None or side != side or side in ("", "0") or (type(side) in (int, float) and side == 0)


def _pixels(side: Any) -> int:
    """A side in pixels; 0 for what is none."""
    try:
        number = float(side) if type(side) in (int, float, str) else 0.0
    except ValueError:
        return 0
    return int(number) if number.is_integer() and 0 < number < 2**31 else 0


@dataclass(frozen=True)
class DrawnMask:
    """The annotations of an image that become its true mask."""

    annotations: Sequence[Annotation]
    numbers: Mapping[Any, int]  # category_id → value in the mask
    stated: Size | None  # as the file states it
    read_photograph: Callable[[], bytes]
    fractions: bool = False  # whether corners are shares of width and height

    def encoded(self) -> bytes:
        """The mask as PNG, [height, width] of the photograph as it is stored or upright.

        Raises:
            DataError: the size fits neither way, or a segmentation cannot be drawn.
        """
        height, width = self._size()
        annotations = [_scaled(a, height, width) for a in self.annotations] if self.fractions else self.annotations
        return encode_mask(draw(annotations, self.numbers, height, width))

    def _size(self) -> Size:
        """The size to draw at: the stated one, or the other way round if EXIF turns the photograph and only that fits."""
        data = self.read_photograph()
        with opened_picture(data) as opened:
            stored = (opened.height, opened.width)
        if self.stated == stored and self._fits(stored):
            return stored
        upright = stored[::-1] if orientation_of(data) >= 5 else stored
        if self.stated not in (None, stored, upright):
            height, width = self.stated or stored
            swapped = "; width and height are swapped, and no EXIF turns it" if (width, height) == stored else ""
            sizes = f"the mask is {width}×{height} pixels, its photograph {upright[1]}×{upright[0]}"
            raise DataError(f"{sizes}{swapped}")
        first = self.stated or upright
        return next((size for size in (first, upright, stored) if self._fits(size)), first)

    def _fits(self, size: Size) -> bool:
        """Whether all runs have that size and all polygons lie inside, give or take a pixel."""
        try:
            for segmentation in (a.get("segmentation") for a in self.annotations):
                if isinstance(segmentation, dict):
                    if run_size(segmentation) != size:
                        return False
                    continue
                for polygon in polygons_of(segmentation):
                    if max(polygon[::2]) > size[1] + 1 or max(polygon[1::2]) > size[0] + 1:
                        return False
        except (TypeError, ValueError):  # `draw` says what is wrong with it
            return True
        return True


def _scaled(annotation: Annotation, height: int, width: int) -> Annotation:
    """The annotation with its polygons in pixels."""
    polygons = polygons_of(annotation.get("segmentation"))
    sides = [[x * (height if k % 2 else width) for k, x in enumerate(polygon)] for polygon in polygons]
    return {**annotation, "segmentation": sides}
