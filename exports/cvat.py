"""CVAT for images 1.1: an annotations file with one `<mask>` per connected region, which loses no pixel.

    images/<name>.<suffix>   the photographs, to be uploaded as the task
    annotations.xml          to be uploaded as its annotations
Void becomes background. Source: https://docs.cvat.ai/docs/manual/advanced/formats/format-cvat/; `rle` holds the lengths
of alternating runs of 0 and 1, row by row within the box, the first of 0.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from exports._selection import Selection
from labelfactory.schema import BACKGROUND, VOID, palette


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
    for number, item in enumerate(selection):
        path = item.write_photograph(folder / "images")
        height, width = item.mask.shape
        of = {"id": str(number), "name": path.name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", of)
        for k in (int(v) for v in np.unique(item.mask) if v not in (BACKGROUND, VOID)):
            count, parts = cv2.connectedComponents((item.mask == k).astype(np.uint8), connectivity=8)
            for part in range(1, count):
                ElementTree.SubElement(image, "mask", {"label": selection.classes[k], **_box(parts == part)})
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / "annotations.xml", encoding="utf-8", xml_declaration=True)
    return {}


def _box(region: NDArray[np.bool_]) -> dict[str, str]:
    """The box of a region and its runs."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    flat = region[top:bottom, left:right].ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    listed = [0, *runs.tolist()] if flat[0] else runs.tolist()
    return {
        "source": "manual",
        "occluded": "0",
        "rle": ", ".join(str(int(run)) for run in listed),
        "left": str(left),
        "top": str(top),
        "width": str(right - left),
        "height": str(bottom - top),
        "z_order": "0",
    }
