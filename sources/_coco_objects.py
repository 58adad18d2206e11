"""What the annotations of a COCO file are: objects that are drawn, objects that are only boxed, or crowds.

`iscrowd: 1` means a crowd in COCO itself. CVAT, and Datumaro within it, write it for every mask that was drawn with a brush.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

Crowds = Literal["auto", "objects", "void"]
"""What annotations of `iscrowd: 1` are; auto: their file decides."""

Annotation = Mapping[str, Any]
Key = Any  # id of a category

OURS = "labelfactory"
"""`info.description` of our own exports, whose crowds are void in every case."""


def is_crowd(annotation: Annotation) -> bool:
    """Whether `iscrowd` says so: 1 or true, also as a text or a decimal."""
    return str(annotation.get("iscrowd")).strip().lower() in ("1", "1.0", "true")


def is_drawn(annotation: Annotation) -> bool:
    """Whether there is a segmentation; boxes have none, an empty one, or NaN and "" where a table was converted.

    COCO Annotator writes the rectangle of a box as its segmentation, and `isbbox`.
    """
    if annotation.get("isbbox") is True:
        return False
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return bool(segmentation.get("counts"))
    return isinstance(segmentation, list) and any(segmentation)


def polygons_of(segmentation: Any) -> list[Any]:
    """The polygons of a segmentation, each a list of x, y, x, y, …

    Some tools write one polygon without its outer list (VIA), and some write pairs: [[x, y], [x, y], …].
    """
    if not isinstance(segmentation, list) or not segmentation:
        return []
    first = segmentation[0]
    if isinstance(first, list) and len(first) > 2 and not isinstance(first[0], list):  # as COCO has it
        return [part for part in segmentation if part]
    flat = not any(isinstance(part, list) for part in segmentation)
    pairs = len(segmentation) >= 3 and all(_is_pair(part) for part in segmentation)
    parts = [segmentation] if flat or pairs else segmentation
    return [_flat(part) if isinstance(part, list) else part for part in parts if part]


def _is_pair(part: Any) -> bool:
    return isinstance(part, list) and len(part) == 2 and not any(isinstance(x, list) for x in part)


def _flat(polygon: list[Any]) -> list[Any]:
    return [x for pair in polygon for x in pair] if all(_is_pair(pair) for pair in polygon) else polygon


def without_false_crowds(
    annotations: Iterable[Annotation],
    names: Mapping[Key, str],
    *,
    crowds: Crowds = "auto",
    option: str = "--crowds objects",
) -> tuple[list[Annotation], tuple[str, ...]]:
    """Decide which annotations of `iscrowd: 1` are objects.

    Left to the data, they are objects in a file of CVAT, and in a category that has no other annotation; else crowds, which
    are void in a mask and no tag.

    Args:
        annotations: of a whole file.
        names: category_id → name, for the words.
        crowds: what they are, if a person says it.
        option: what a person types if crowds are objects.

    Returns:
        All annotations in their order, without `iscrowd` where they are objects; and what was decided, for a person.
    """
    listed = list(annotations)
    total = Counter(a.get("category_id") for a in listed)
    counts = Counter(a.get("category_id") for a in listed if is_crowd(a))
    if crowds == "auto":
        by_cvat = any(_is_of_cvat(a) for a in listed)
        objects = {k for k, count in counts.items() if by_cvat or count == total[k]}
        reason = "CVAT writes this for masks of its brush" if by_cvat else "no other annotation of the same category"
    else:
        objects, reason = (set(counts), "as --crowds says") if crowds == "objects" else (set(), "")
    way = "as --crowds says" if crowds == "void" else f"if they are objects, type {option}"
    decided = {
        f"taken as objects ({reason})": {k: n for k, n in counts.items() if k in objects},
        f"void and no tags ({way})": {k: n for k, n in counts.items() if k not in objects},
    }
    words = [f"annotations with iscrowd 1, {what}: {_listed(n, names)}" for what, n in decided.items() if n]
    return [{**a, "iscrowd": 0} if a.get("category_id") in objects else a for a in listed], tuple(words)


def _is_of_cvat(annotation: Annotation) -> bool:
    attributes = annotation.get("attributes")
    return isinstance(attributes, dict) and "occluded" in attributes


def _listed(counts: Mapping[Key, int], names: Mapping[Key, str], shown: int = 10) -> str:
    items = [f"{names.get(key, key)} {count}" for key, count in sorted(counts.items(), key=lambda item: -item[1])]
    return ", ".join(items[:shown]) + (f" and {len(items) - shown} more" if len(items) > shown else "")


def rectangles(annotations: Sequence[Annotation]) -> int:
    """How many outlines are the rectangle of their own box: objects of that form, or boxes that were converted (VIA, FiftyOne)."""
    return sum(_is_its_box(annotation) for annotation in annotations)


def _is_its_box(annotation: Annotation) -> bool:
    box, polygons = annotation.get("bbox"), polygons_of(annotation.get("segmentation"))
    if not (isinstance(box, list) and len(box) == 4 and len(polygons) == 1 and len(polygons[0]) in (8, 10)):
        return False
    try:
        x, y, width, height = (float(value) for value in box)
        numbers = [float(value) for value in polygons[0]]
    except (TypeError, ValueError):
        return False
    sides = zip(numbers, [x, y] * 5, [x + width, y + height] * 5, strict=False)
    return all(min(abs(value - low), abs(value - high)) <= 0.5 for value, low, high in sides)


def are_fractions(outlined: Sequence[Annotation]) -> bool:
    """Whether all corners of all polygons lie between 0 and 1: no object of pixels is so small."""
    if not outlined or any(isinstance(a.get("segmentation"), dict) for a in outlined):
        return False
    corners = (x for a in outlined for polygon in polygons_of(a.get("segmentation")) for x in polygon)
    return all(type(x) in (int, float) and 0 <= x <= 1 for x in corners)
