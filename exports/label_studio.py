"""Label Studio: tasks with polygons to be corrected by hand. Void becomes background.

images/<name>.<suffix>   the photographs; serve them with Label Studio's local file storage, rooted at this folder
tasks.json               to be imported: each task has one prediction, one polygon per connected region, without specks
labels.xml               the labelling interface
An address in tasks.json is decoded once by Label Studio, and then names a file below this folder.
"""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exports._polygons import PixelError, Polygon, polygon_of
from exports._regions import Objects
from exports._selection import Item, Selection
from labelfactory.schema import palette

OBJECTS = True
"""It has an annotation for each object, so `--min-area` applies."""


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write photographs, tasks and the interface."""
    error, objects = PixelError(), Objects(selection.min_area)
    tasks = []
    for item in selection:
        path = item.write_photograph(folder / "images")
        polygons = [(region.label, polygon_of(region)) for region in objects.of(item.mask)]
        error.add(item.mask, polygons)
        score = {} if item.quality is None else {"score": item.quality}
        results = [_result(k, pair, item, selection.classes) for k, pair in enumerate(polygons)]
        tasks.append(
            {
                "data": {
                    "image": f"/data/local-files/?d={quote(f'images/{path.name}')}",
                    "image_id": item.record.image_id,
                },
                "predictions": [{"model_version": "labelfactory", **score, "result": results}],
            }
        )
    (folder / "tasks.json").write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    labels = ElementTree.SubElement(view, "PolygonLabels", {"name": "label", "toName": "image"})
    for k, name in enumerate(selection.classes[1:], 1):
        colour = "#{:02x}{:02x}{:02x}".format(*palette()[k])
        ElementTree.SubElement(labels, "Label", {"value": name, "background": colour})
    ElementTree.indent(view)
    ElementTree.ElementTree(view).write(folder / "labels.xml", encoding="utf-8")
    return {**error.facts(), **objects.facts()}


def _result(number: int, pair: tuple[int, Polygon], item: Item, classes: tuple[str, ...]) -> dict[str, Any]:
    """One polygon, in per cent of the image's size."""
    label, polygon = pair
    height, width = item.mask.shape
    return {
        "id": f"{item.name[:40]}-{number}",
        "type": "polygonlabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "points": [[100 * (float(x) + 0.5) / width, 100 * (float(y) + 0.5) / height] for x, y in polygon],
            "polygonlabels": [classes[label]],
            "closed": True,
        },
    }
