"""YOLO segmentation: one polygon per connected region, in fractions of the image. Void becomes background.

images/<list>/<name>.<suffix>   the photographs
labels/<list>/<name>.txt        rows of: class (from 0), x y x y …
data.yaml                       names and lists, as Ultralytics reads it
"""

from pathlib import Path
from typing import Any

import yaml

from exports._polygons import PixelError, polygons_of
from exports._selection import Selection
from labelfactory.names import file_name


def write(selection: Selection, folder: Path) -> dict[str, Any]:
    """Write photographs, labels and data.yaml."""
    error = PixelError()
    lists: set[str] = set()
    for item in selection:
        name = file_name(selection.list_of(item))
        lists.add(name)
        item.write_photograph(folder / "images" / name)
        polygons = polygons_of(item.mask)
        error.add(item.mask, polygons)
        height, width = item.mask.shape
        rows = [
            f"{label - 1} " + " ".join(f"{(x + 0.5) / width:.6f} {(y + 0.5) / height:.6f}" for x, y in polygon)
            for label, polygon in polygons
        ]
        path = folder / "labels" / name / f"{item.name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([*rows, ""]) if rows else "", encoding="ascii")
    train, val = (file_name(n) for n in (selection.dataset.train_list, selection.dataset.val_list))
    value: dict[str, Any] = {"path": "."} | {f: f"images/{f}" for f in sorted(lists)}
    value |= {"train": f"images/{train if train in lists else min(lists)}"}
    value |= {"val": f"images/{val if val in lists else min(lists)}"}
    value |= {"names": dict(enumerate(selection.classes[1:]))}
    (folder / "data.yaml").write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return error.facts()
