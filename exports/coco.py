"""COCO JSON: instances and semantic masks, all as RLE, which loses no pixel.

    images/<name>.<suffix>    the photographs
    instances.json            one annotation per connected region of a class, without specks; touching objects are one region
    semantic.json             one annotation per class of an image, with every pixel
Void is a crowd region (`iscrowd: 1`) of each of the image's tags, which COCO does not score.
`image_id` beside an image's number is its id in this project.
Source: https://cocodataset.org/#format-data.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from exports._regions import Objects
from exports._selection import Item, Selection
from labelfactory.schema import BACKGROUND, VOID

OBJECTS = True
"""It has an annotation for each object, so `--min-area` applies."""


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write photographs and both files."""
    images: list[dict[str, Any]] = []
    annotations: dict[str, list[dict[str, Any]]] = {"instances": [], "semantic": []}
    objects = Objects(selection.min_area)
    for number, item in enumerate(selection, 1):
        path = item.write_photograph(folder / "images")
        height, width = item.mask.shape
        images.append(
            {"id": number, "file_name": path.name, "height": height, "width": width, "image_id": item.record.image_id}
        )
        for name, listed in annotations.items():
            for label, crowd, region in _regions(item, selection, objects if name == "instances" else None):
                listed.append(_annotation(len(listed) + 1, number, label, crowd, region))
    categories = [{"id": k, "name": name, "supercategory": ""} for k, name in enumerate(selection.classes) if k]
    for name, listed in annotations.items():
        value = {"info": {"description": "labelfactory"}, "images": images, "annotations": listed}
        (folder / f"{name}.json").write_text(json.dumps(value | {"categories": categories}), encoding="utf-8")
    return {"instances": len(annotations["instances"]), **objects.facts()}


def _regions(item: Item, selection: Selection, objects: Objects | None) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Class id, crowd flag and pixels of each annotation of an image: of its objects, or of its classes."""
    if objects is not None:
        for region in objects.of(item.mask):
            yield region.label, 0, region.within(item.mask.shape)
    else:
        for label in (int(k) for k in np.unique(item.mask) if k not in (BACKGROUND, VOID)):
            yield label, 0, item.mask == label
    void = item.mask == VOID
    if void.any():
        ids = selection.dataset.classes.ids(item.record.tags)
        for label in ids.tolist() or range(1, len(selection.classes)):
            yield label, 1, void


def _annotation(number: int, image: int, label: int, crowd: int, region: NDArray[np.bool_]) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(region.astype(np.uint8)))
    return {
        "id": number,
        "image_id": image,
        "category_id": label,
        "iscrowd": crowd,
        "area": float(coco_mask.area(encoded)),
        "bbox": [float(x) for x in coco_mask.toBbox(encoded)],
        "segmentation": {"size": list(region.shape), "counts": encoded["counts"].decode("ascii")},
    }
