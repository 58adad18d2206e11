"""YOLO segmentation: one polygon per connected region, without specks, in fractions of the image. Void becomes background.

images/<list>/<name>.<suffix>   the photographs
labels/<list>/<name>.txt        rows of: class (from 0), x y x y …
data.yaml                       names and lists, as Ultralytics reads it; without `path`, which it would look for in the
                                current folder, lists are found beside data.yaml
The line has no masks of the validation list, which Ultralytics asks for: the trained segmenter's predictions stand there.
"""

from pathlib import Path
from typing import Any

import yaml

from exports._polygons import PixelError, polygon_of
from exports._regions import Objects
from exports._selection import Item, Selection
from exports._validation import Validation
from labelfactory.names import file_name

OBJECTS = True
"""It has an annotation for each object, so `--min-area` applies."""


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write photographs, labels and data.yaml."""
    error, objects = PixelError(), Objects(selection.min_area)
    lists: set[str] = set()

    def add(item: Item) -> None:
        name = file_name(selection.list_of(item))
        lists.add(name)
        item.write_photograph(folder / "images" / name)
        polygons = [(region.label, polygon_of(region)) for region in objects.of(item.mask)]
        error.add(item.mask, polygons)
        height, width = item.mask.shape
        rows = [
            f"{label - 1} " + " ".join(f"{(x + 0.5) / width:.6f} {(y + 0.5) / height:.6f}" for x, y in polygon)
            for label, polygon in polygons
        ]
        path = folder / "labels" / name / f"{item.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*rows, ""]) if rows else "", encoding="ascii")

    for item in selection:
        add(item)
    train, val = (file_name(n) for n in (selection.dataset.train_list, selection.dataset.val_list))
    validation = Validation(selection, there=val in lists)
    for item in validation:
        add(item)
    train = train if train in lists else min(lists)
    value: dict[str, Any] = {f: f"images/{f}" for f in sorted(lists)}
    value |= {"train": f"images/{train}", "val": f"images/{val if val in lists else train}"}
    value |= {"names": dict(enumerate(selection.classes[1:]))}
    (folder / "data.yaml").write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return {**error.facts(), **objects.facts(), "validation": validation.facts()}
