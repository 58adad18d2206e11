"""By which classes the numbers of an edited mask are read: those that its own folder names, whatever the data set says by now."""

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from cat_and_dog import CLASSES, MINE, dataset, drawn, edited
from PIL import Image

from labelfactory.dataset.prepared import Dataset
from labelfactory.errors import DataError
from labelfactory.schema import Classes

__all__ = ["dataset"]


def swapped(dataset: Dataset) -> Dataset:
    """The same data set after its classes were put in another order."""
    return dataclasses.replace(dataset, classes=Classes(CLASSES.names[::-1]))


def numbered(folder: Path, kind: str) -> None:
    """Masks of the classes in the first order, as an export of VOC or Cityscapes has them."""
    inside = "SegmentationClass" if kind == "voc" else "gtFine/train/all"
    for name in ("a", "c"):
        file = folder / inside / (f"{name}.png" if kind == "voc" else f"{name}_gtFine_labelIds.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn()).save(file)
    if kind == "voc":
        (folder / "classes.txt").write_text("background\ncat\nbig dog\n")
    else:
        named = [*enumerate(("background", "cat", "big dog")), (255, "void")]
        table = [{"name": name, "id": k, "trainId": k, "color": [0, 0, 0]} for k, name in named]
        (folder / "labels.json").write_text(json.dumps(table))


@pytest.mark.parametrize("kind", ["voc", "cityscapes"])
@pytest.mark.parametrize("door", ["the folder", "its masks", "a folder around it", "a zip", "a zip of the folder"])
def test_masks_are_of_the_classes_that_their_own_folder_names(dataset, kind, door):
    """Whichever of its folders is named: the data set may number its classes otherwise by now."""
    numbered(Path("around/e"), kind)
    inside = "SegmentationClass" if kind == "voc" else "gtFine/train/all"
    place = {"the folder": "around/e", "its masks": f"around/e/{inside}", "a folder around it": "around"}.get(
        door, "z.zip"
    )
    if place == "z.zip":
        with zipfile.ZipFile(place, "w") as archive:
            for path in sorted(path for path in Path("around").rglob("*") if path.is_file()):
                archive.write(path, path.relative_to("around/e" if door == "a zip" else "around"))
    other = {name: np.select([mask == 1, mask == 2], [2, 1], 0).astype(np.uint8) for name, mask in MINE.items()}
    found = edited(place, swapped(dataset), other)
    assert (sorted(found.same), found.masks) == (["a", "c"], {})


def test_a_file_above_a_zip_is_none_of_its_own(dataset):
    """Nor are labels without numbers, which other tools write."""
    numbered(Path("e"), "voc")
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.write("e/SegmentationClass/a.png", "a.png")
        archive.writestr("labels.json", json.dumps([{"name": "car", "attributes": []}]))
    Path("classes.txt").write_text("background\nnone of these\n")
    assert edited("z.zip", dataset).same == ["a"]


def test_a_file_above_a_persons_own_folder_is_none_of_its_own(dataset):
    """Classes of YOLO have no row for the background."""
    Path("edits").mkdir()
    Image.fromarray(drawn()).save("edits/a.png")
    Path("classes.txt").write_text("cat\nbig dog\n")
    assert edited("edits", dataset).same == ["a"]


def test_labels_of_another_tool_hide_no_classes(dataset):
    """They lie nearer to the masks, and have no numbers. What was used is said where it is not the folder that was named."""
    numbered(Path("e"), "voc")
    Path("e/SegmentationClass/labels.json").write_text('{"version": 1}')
    other = {name: np.select([mask == 1, mask == 2], [2, 1], 0).astype(np.uint8) for name, mask in MINE.items()}
    found = edited("e/SegmentationClass", swapped(dataset), other)
    assert sorted(found.same) == ["a", "c"]
    assert found.decisions[0].endswith("/e says")


def test_a_class_that_is_gone_is_named(dataset):
    numbered(Path("e"), "cityscapes")
    fewer = dataclasses.replace(dataset, classes=Classes(("cow", "big dog")))
    with pytest.raises(DataError, match=r"labels\.json: 'cat' is not a class"):
        edited("e/gtFine/train/all", fewer)
