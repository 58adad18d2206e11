"""VOC folders, which `labelfactory import voc` reads back to the same digests.

JPEGImages/<name>.<suffix>        the photographs
SegmentationClass/<name>.png      palette PNG of class ids in VOC's colours, 255 void
ImageSets/Segmentation/<list>.txt names of the photographs of each list
classes.txt, tags.csv             names by class id; tags of each photograph
"""

import csv
from pathlib import Path
from typing import Any

from exports._selection import Selection
from labelfactory.dataset.images import encode_mask
from labelfactory.names import file_name


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write the folders."""
    lists: dict[str, list[str]] = {}
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(selection.classes) + "\n", encoding="utf-8")
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
