"""Edited masks as COCO instances: images by file_name, classes by name. An image without an annotation is background."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelfactory.console import one_line
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError, in_short
from labelfactory.schema import Mask
from sources._coco_drawing import draw
from sources._coco_file import shared_ids
from sources._coco_objects import OURS, Crowds, is_crowd, without_false_crowds
from sources._edited_mask import EditedMask, Load
from sources._edited_pngs import class_number
from sources._findings import SHOWN, first_lines


def edited_coco(
    path: Path, loaded: Any, dataset: Dataset, crowds: Crowds, decisions: list[str]
) -> Iterator[EditedMask]:
    """The masks of a file of COCO instances.

    Args:
        path: the file.
        loaded: its content.
        dataset: of the images.
        crowds: what annotations of `iscrowd: 1` are; in our own exports they are void.
        decisions: gets what was decided about them.

    Raises:
        DataError: it is not COCO, an id is not unique, or a category is not a class.
    """
    try:
        categories = {c["id"]: str(c["name"]) for c in loaded["categories"]}
        images = [(int(i["id"]), str(i["file_name"]), str(i.get("image_id", ""))) for i in loaded["images"]]
        annotations = list(loaded.get("annotations", ()))
        info = loaded.get("info")
        ours = isinstance(info, dict) and info.get("description") == OURS
        annotations, said = without_false_crowds(
            annotations, categories, crowds="void" if ours and crowds == "auto" else crowds
        )
        of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number, _, _ in images}
        for annotation in annotations:
            of_image[annotation["image_id"]].append(annotation)
        shared = [
            f"{key}[{number}]: {problem}"
            for key, field_name in (("categories", "name"), ("images", "file_name"))
            for number, problem in shared_ids(key, list(enumerate(loaded[key])), field_name)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO instances: {type(error).__name__}: {in_short(error, 80)}",
            "Name a JSON with images, annotations and categories, or a folder of PNG masks.",
        ) from None
    if shared:
        lines = [f"  {one_line(line)}" for line in first_lines(shared, SHOWN)]
        raise DataError(
            "\n".join([f"{path}: ids are not unique", *lines]), "Give each of these an id of its own in the JSON."
        )
    if not ours:
        decisions.extend(said)
    used = {a.get("category_id") for listed in of_image.values() for a in listed}
    numbers = {k: class_number(name, path, dataset) for k, name in categories.items() if k in used}
    has_void = ours or any(is_crowd(annotation) for annotation in annotations)
    for number, name, image_id in images:
        load = _drawer(of_image[number], numbers)
        yield EditedMask(f"{path.name}, {name}", (image_id, name), load, has_void=has_void, has_specks=False)


def _drawer(annotations: Sequence[Mapping[str, Any]], numbers: Mapping[Any, int]) -> Load:
    def load(record: ImageRecord) -> tuple[Mask, int]:
        unknown = [a.get("category_id") for a in annotations if a.get("category_id") not in numbers]
        if unknown:
            raise DataError(f"category {unknown[0]} is not a class")
        return draw(annotations, numbers, record.height, record.width), 0

    return load
