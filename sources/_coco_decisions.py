"""What a COCO file decides as a whole: its classes, whether it has true masks, and in which units; each is noted for a person."""

from collections.abc import Sequence

from labelfactory.console import first_of
from labelfactory.errors import DataError
from labelfactory.schema import MAX_CLASSES
from sources._coco_file import CocoFile
from sources._coco_objects import are_fractions, is_crowd, is_drawn, rectangles
from sources._findings import Findings

SHOWN = 10
SHARE_OF_BOXES = 0.2
"""Share of outlines that are rectangles, at which a person is asked: few objects are."""


def used_names(findings: Findings, listed: CocoFile) -> tuple[str, ...]:
    """Names of the categories of which there is a tag, in order; what became of the others is noted.

    Raises:
        DataError: too many.
    """
    single = [a["category_id"] for image in listed.images for a in image.annotations if not is_crowd(a)]
    keys = set(single)
    tagged = {name for key, name in listed.categories.items() if key in keys}
    every = tuple(dict.fromkeys(listed.categories.values()))
    names = tuple(name for name in every if name in tagged)
    if len(names) > MAX_CLASSES:
        raise DataError(
            f"{findings.root}: {len(names)} categories; a mask can have at most {MAX_CLASSES}",
            "Remove categories from the file.",
        )
    unused = [name for name in every if name not in tagged]
    if unused and names:
        findings.decisions.append(f"not used: {_some(unused)}")
    for name in dict.fromkeys(listed.backgrounds.values()):
        count = sum(listed.backgrounds.get(key) == name for key in single)
        if count:
            findings.decisions.append(f"{name!r} is no class: the pixels of its {count} annotations are background")
    return names


def has_masks(findings: Findings, listed: CocoFile) -> bool:
    """Whether the file has true masks; notes what a person should know of them."""
    annotations = [a for image in listed.images for a in image.annotations]
    outlined = [a for a in annotations if is_drawn(a)]
    if not outlined:
        if annotations:
            findings.decisions.append(
                f"tags alone, no true masks: none of {len(annotations)} annotations has a segmentation, only boxes"
            )
        return False
    boxes = rectangles(outlined)
    if boxes >= SHARE_OF_BOXES * len(outlined):
        findings.decisions.append(
            f"{boxes} of {len(outlined)} segmentations are the rectangles of their boxes, and are drawn in true masks; "
            "if they are only boxes, type --no-true-masks"
        )
    empty = sum(not image.annotations for image in listed.images)
    if empty:
        findings.decisions.append(f"without an annotation: {empty} images; they have no tag, and are all background")
    if any("neg_category_ids" in image.record for image in listed.images):
        findings.decisions.append(
            "LVIS looks for some categories in each photograph, so background in its true masks may hold others; "
            "for tags alone, type --no-true-masks"
        )
    return True


def in_fractions(findings: Findings, listed: CocoFile) -> bool:
    """Whether the corners of polygons are shares of width and height."""
    outlined = [a for image in listed.images for a in image.annotations if is_drawn(a)]
    fractions = are_fractions(outlined)
    if fractions:
        findings.decisions.append("corners of polygons lie between 0 and 1: taken as shares of width and height")
    return fractions


def shifted_ids(findings: Findings, listed: CocoFile) -> list[str]:
    """The problem of a file whose annotations count categories from 0 and whose list does from 1, or the other way round."""
    known = {key for key in (*listed.categories, *listed.backgrounds) if type(key) is int}
    unknown = {int(key) for image in listed.images for key in image.unknown if type(key) in (int, float)}
    beside = unknown & {min(known, default=0) - 1, max(known, default=0) + 1}
    return [
        f"{findings.root.name}: annotations have the category {key}, next to those that are listed, {min(known)} to "
        f"{max(known)}: all may be shifted by one; correct the ids of the categories or of the annotations"
        for key in sorted(beside if known else ())
    ]


def _some(names: Sequence[str]) -> str:
    return first_of([repr(name) if "," in name else name for name in names], SHOWN)
