"""VOC folders, which `labelfactory import voc` reads back to the same digests.

JPEGImages/<name>.<suffix>        the photographs
SegmentationClass/<name>.png      palette PNG of class ids in VOC's colours, 255 void
ImageSets/Segmentation/<list>.txt names of the photographs of each list
classes.txt, tags.csv             names by class id; tags of each photograph
labelmap.txt                      names and colours, as CVAT and datumaro read them; absent where a name has a colon, which the
                                  file cannot hold
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from exports._selection import Selection
from labelfactory.dataset.images import encode_mask
from labelfactory.names import file_name
from labelfactory.schema import VOID, palette

IGNORED = "ignored"
"""What CVAT calls void."""


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write the folders."""
    lists: dict[str, list[str]] = {}
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(selection.classes) + "\n", encoding="utf-8")
    if not any(":" in name for name in selection.classes):
        (folder / "labelmap.txt").write_text(label_map(selection.classes), encoding="utf-8")
    with (folder / "tags.csv").open("w", newline="", encoding="utf-8") as stream:
        tags = csv.writer(stream)
        tags.writerow(["image_id", "tags"])
        for item in selection:
            item.write_photograph(folder / "JPEGImages")
            (folder / "SegmentationClass" / f"{item.name}.png").write_bytes(encode_mask(item.mask))
            tags.writerow([item.name, "|".join(item.record.tags)])
            for name in item.record.lists or ("rest",):
                lists.setdefault(name, []).append(item.name)
    for name, members in lists.items():
        (folder / "ImageSets" / "Segmentation" / f"{file_name(name)}.txt").write_text(
            "\n".join(members) + "\n", encoding="utf-8"
        )
    return {}


def label_map(names: Sequence[str]) -> str:
    """CVAT's `labelmap.txt`: a line `name:r,g,b:parts:actions` for each class, and one for void."""
    colours = palette()
    rows = [*enumerate(names), *([] if IGNORED in names else [(VOID, IGNORED)])]
    lines = [f"{name}:{','.join(str(value) for value in colours[k])}::" for k, name in rows]
    return "\n".join(["# label:color_rgb:parts:actions", *lines, ""])
