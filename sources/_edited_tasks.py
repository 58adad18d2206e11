"""Edited masks of Label Studio: its JSON and JSON-MIN with polygons and brush strokes, and its PNG files of brush strokes.

    JSON               one object a task: id, data.image, data.image_id, annotations[].result[]
    JSON-MIN           one object an annotation: image, image_id, and the results under the name of the control
    task-1-annotation-2-by-1-label-cat-0.png    0 and 255, one class each; the JSON beside them says which image task 1 is
There is no void. Points are per cent of the image's sides.
Source: https://labelstud.io/guide/export; the runs of a brush are those of label_studio_sdk.converter.brush.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.images import decode_mask
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import read_file
from labelfactory.schema import Mask
from sources._edited_mask import EditedMask, Load
from sources._edited_pngs import class_number
from sources._edited_regions import Drawn, Region, painted, polygon, resized

STROKES = re.compile(r"task-(?P<task>\d+)-annotation-(?P<annotation>\d+)-by-(?P<rest>.+)-\d+\.png")
LARGEST = 64_000_000
"""Pixels of an image, as of a photograph."""
SHAPES = ("polygonlabels", "brushlabels", "rectanglelabels", "ellipselabels", "keypointlabels")
REMEDY = "Export the project from Label Studio as JSON."


def is_tasks(loaded: Any) -> bool:
    """Whether a JSON is Label Studio's: a list of objects with an image."""
    return isinstance(loaded, list) and bool(loaded) and all(isinstance(task, dict) and _image(task) for task in loaded)


def edited_tasks(path: Path, tasks: Sequence[Mapping[str, Any]], dataset: Dataset) -> Iterator[EditedMask]:
    """The masks of a JSON or JSON-MIN. A task that nobody submitted has none.

    Raises:
        DataError: no task was annotated.
    """
    count = 0
    for task in tasks:
        for number, results in enumerate(_annotations(task)):
            count += 1
            where = f"{path.name}, task {task.get('id')}" + (f", annotation {number + 1}" if number else "")
            yield EditedMask(where, _names(task), _drawer(results, path, dataset), has_void=False, has_specks=False)
    if not count:
        raise DataError(f"{path}: no task has an annotation; predictions that nobody submitted are none", REMEDY)


def edited_strokes(
    paths: Sequence[Path], tasks: Mapping[int, tuple[str, ...]], dataset: Dataset
) -> Iterator[EditedMask]:
    """The masks of PNG files of brush strokes.

    Args:
        paths: of files whose name STROKES matches.
        tasks: id of a task → what names its image.
        dataset: of the images.

    Raises:
        DataError: a task is unknown.
    """
    groups: dict[tuple[int, int], list[Path]] = {}
    for path in paths:
        named = STROKES.fullmatch(path.name)
        if named:
            groups.setdefault((int(named["task"]), int(named["annotation"])), []).append(path)
    unknown = sorted({task for task, _ in groups} - tasks.keys())
    if unknown:
        raise DataError(
            f"{paths[0].parent}: nothing says which image task {unknown[0]} is ({len(unknown)} tasks)",
            "Export the same project as JSON too, and put that file beside the PNG files.",
        )
    for (task, annotation), files in groups.items():
        where = f"task {task}, annotation {annotation}"
        yield EditedMask(where, tasks[task], _strokes(files, dataset), has_void=False, has_specks=False)


def names_of_tasks(loaded: Any) -> dict[int, tuple[str, ...]]:
    """Id of a task → what names its image."""
    return {task["id"]: _names(task) for task in loaded if type(task.get("id")) is int} if is_tasks(loaded) else {}


def _data(task: Mapping[str, Any]) -> Mapping[str, Any]:
    return task["data"] if isinstance(task.get("data"), dict) else task


def _image(task: Mapping[str, Any]) -> str:
    """The address of the image, under whatever name."""
    data = _data(task)
    texts = [value for key, value in data.items() if isinstance(value, str) and key != "image_id"]
    return data["image"] if isinstance(data.get("image"), str) else next((t for t in texts if "/" in t), "")


def _names(task: Mapping[str, Any]) -> tuple[str, ...]:
    stated = (_data(task).get("image_id"), _image(task), task.get("file_upload"))
    return tuple(name for name in stated if isinstance(name, str) and name)


def _annotations(task: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The results of each annotation that was submitted."""
    if isinstance(task.get("annotations"), list):
        for annotation in task["annotations"]:
            if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
                yield annotation.get("result") or []
    elif "annotation_id" in task:
        lists = [value for value in task.values() if isinstance(value, list)]
        yield [{"value": one, **one} for listed in lists for one in listed if isinstance(one, dict)]


def _drawer(results: Sequence[Any], path: Path, dataset: Dataset) -> Load:
    def load(record: ImageRecord) -> tuple[Mask, int]:
        try:
            return painted(list(_drawn(results, path, dataset, record)), record.height, record.width), 0
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
            raise DataError(f"a result cannot be read: {type(error).__name__}: {in_short(error, 80)}") from None

    return load


def _drawn(results: Sequence[Any], path: Path, dataset: Dataset, record: ImageRecord) -> Iterator[Drawn]:
    for result in results:
        value = result["value"]
        kind = next((shape for shape in SHAPES if shape in value), "")
        if not kind:
            continue
        if result.get("image_rotation"):
            raise DataError(f"its image was turned by {result['image_rotation']}° in Label Studio: turn it back")
        for label in value[kind]:
            number = class_number(str(label), path, dataset)
            if kind == "polygonlabels":
                corners = np.array(value["points"], dtype=np.float64) * [record.width / 100, record.height / 100] - 0.5
                yield Drawn(number, polygon(corners, record.height, record.width))
            elif kind == "brushlabels":
                size = (int(result["original_height"]), int(result["original_width"]))
                yield Drawn(
                    number, resized(brush(value["rle"], *size).astype(np.uint8), record.height, record.width) > 0
                )
            else:
                raise DataError(f"{kind}: has no outline; draw a polygon or use the brush")


def _strokes(files: Sequence[Path], dataset: Dataset) -> Load:
    def load(record: ImageRecord) -> tuple[Mask, int]:
        drawn = []
        for path in files:
            rest = path.name.rpartition("-")[0]
            names = sorted((n for n in dataset.classes.names if rest.endswith(f"-{n}")), key=len)
            if not names:
                raise DataError(f"{path.name}: does not end in the name of a class and a number")
            region = decode_mask(read_file(path)) > 0
            drawn.append(Drawn(dataset.classes.names.index(names[-1]) + 1, region))
        height, width = drawn[0].region.shape
        if any(one.region.shape != (height, width) for one in drawn):
            raise DataError("its files are of several sizes")
        return painted(drawn, height, width), 0

    return load


def brush(counts: Sequence[int], height: int, width: int) -> Region:
    """Decode the runs of a brush: opaque pixels, [height, width].

    Raises:
        ValueError: they do not fill the image.
    """
    if not (0 < height * width <= LARGEST):
        raise ValueError(f"a size of {width}×{height}")
    bits = np.unpackbits(np.array(counts, dtype=np.uint8))
    place = 0

    def number(length: int) -> int:
        nonlocal place
        if place + length > len(bits):
            raise ValueError("its runs end too early")
        place += length
        return int("".join(map(str, bits[place - length : place])), 2)

    total, word = number(32), number(5) + 1
    if total != height * width * 4:
        raise ValueError("its runs do not fill the image")
    lengths = [number(4) + 1 for _ in range(4)]
    values: NDArray[np.uint8] = np.zeros(total, dtype=np.uint8)
    at = 0
    while at < total:
        same = number(1)
        end = min(at + 1 + number(lengths[number(2)]), total)
        if same:
            values[at:end] = number(word)
        else:
            values[at:end] = [number(word) for _ in range(at, end)]
        at = end
    return values.reshape(height, width, 4)[:, :, 3] > 127
