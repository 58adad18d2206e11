"""CVAT for images 1.1: an annotations file with one `<mask>` per connected region, without specks.

    images/<name>.<suffix>   the photographs, to be uploaded as the task
    annotations.xml          to be uploaded as its annotations
Void becomes background. Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/; `rle` holds the lengths
of alternating runs of 0 and 1, row by row within the box, the first of 0.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from exports._regions import Objects, Region
from exports._selection import Selection
from labelfactory.schema import palette

OBJECTS = True
"""It has an annotation for each object, so `--min-area` applies."""


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write photographs and annotations."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels")
    for k, name in enumerate(selection.classes):
        if k:
            label = ElementTree.SubElement(labels, "label")
            ElementTree.SubElement(label, "name").text = name
            ElementTree.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*palette()[k])
            ElementTree.SubElement(label, "attributes")
    objects = Objects(selection.min_area)
    for number, item in enumerate(selection):
        path = item.write_photograph(folder / "images")
        height, width = item.mask.shape
        of = {"id": str(number), "name": path.name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", of)
        for region in objects.of(item.mask):
            ElementTree.SubElement(image, "mask", {"label": selection.classes[region.label], **_box(region)})
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    return objects.facts()


def _box(region: Region) -> dict[str, str]:
    """The box of a region and its runs."""
    flat = region.pixels.ravel()
    height, width = region.pixels.shape
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    listed = [0, *runs.tolist()] if flat[0] else runs.tolist()
    return {
        "source": "manual",
        "occluded": "0",
        "rle": ", ".join(str(int(run)) for run in listed),
        "left": str(region.left),
        "top": str(region.top),
        "width": str(width),
        "height": str(height),
        "z_order": "0",
    }
