"""Read masks that were edited elsewhere, as corrections: a folder of PNG masks, or a file of COCO instances.

    DIR              *.png, named as in our exports; below SegmentationClass/ or gtFine/ if there is such a folder.
                     Pixels are class ids, those of classes.txt if that exists; or colours, those of labelmap.txt
                     (written by CVAT), else VOC's.
    INSTANCES.json   COCO instances; images by file_name, classes by name. An image without an annotation is background.

A mask that equals the current one was not edited: it is counted and ignored.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.console import one_line
from labelfactory.dataset.images import decode_mask, fitted
from labelfactory.dataset.picture_files import MASKS, opened_picture
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file
from labelfactory.names import file_name
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID, Mask, palette
from sources._coco_drawing import draw
from sources._findings import text_rows
from sources.coco import shared_ids

SHOWN = 20
LABEL_IDS = "_gtFine_labelIds"
FOLDERS = ("SegmentationClass", "gtFine")
"""Mask folders of VOC and Cityscapes exports; the photographs beside them are not masks."""

Current = Callable[[ImageRecord], Mask | None]
"""Returns the current mask of an image, [H, W] uint8; None if it has none."""


@dataclass
class Edited:
    """The masks of a folder or file."""

    masks: dict[str, Mask] = field(default_factory=dict)  # image_id → [H, W] uint8 in the data set's class ids
    same: list[str] = field(default_factory=list)  # images whose mask equals the current one


def find_edited(path: Path, dataset: Dataset, current: Current, *, take_equal: bool = False) -> Edited:
    """Read edited masks; check each against its photograph and compare it with the current mask.

    Args:
        path: the folder, or the JSON.
        dataset: of the images.
        current: returns the current mask of an image.
        take_equal: also take masks that equal the current one, as confirmed by a person.

    Raises:
        DataError: lists every unusable mask with its file and the reason; then none is taken.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", "Name a folder of PNG masks, or a JSON of COCO instances.")
    listed = list(_of_folder(path, dataset) if path.is_dir() else _of_coco(path, dataset))
    gone = withdrawn()
    names, training = _names(dataset), {record.image_id for record in dataset.training}
    edited, problems = Edited(), []
    with progress("corrections", len(listed)) as tick:
        for where, name, load in listed:
            tick()
            record = names.get(name)
            if record is None:
                known = sorted(names) if len(names) < 10_000 else ()
                near = did_you_mean(name, known)
                problems.append(f"{where}: the data set has no image {name!r}{near if 'did you mean' in near else ''}")
            elif gone.refuses(record.image_id, record.sha256):
                problems.append(f"{where}: {record.image_id} was withdrawn")
            elif record.image_id not in training:
                problems.append(
                    f"{where}: {record.image_id} is not on the training list; other photographs have no masks"
                )
            elif record.image_id in edited.masks or record.image_id in edited.same:
                problems.append(f"{where}: a second mask for {record.image_id}")
            else:
                try:
                    mask = _checked(load(record), record, dataset)
                except DataError as error:
                    problems.append(f"{where}: {error.problem}")
                    continue
                old = current(record)
                if not take_equal and old is not None and np.array_equal(old, mask):
                    edited.same.append(record.image_id)
                else:
                    edited.masks[record.image_id] = mask
    if problems:
        count = f"{len(problems)} of {len(listed)} masks are not usable; none was added"
        more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        lines = [f"{path}: {count}", *(f"  {one_line(line)}" for line in problems[:SHOWN]), *more]
        raise DataError("\n".join(lines), "Mend or remove these, and add the rest again.")
    return edited


Load = Callable[[ImageRecord], Mask]
Named = Iterator[tuple[str, str, Load]]
"""The location of a mask, the name of its image, and the function that reads it."""


def _names(dataset: Dataset) -> dict[str, ImageRecord]:
    """Images by id and by the file name of exports."""
    by_file_name = {file_name(record.image_id): record for record in dataset.usable}
    return by_file_name | {record.image_id: record for record in dataset.usable}


def _checked(mask: Mask, record: ImageRecord, dataset: Dataset) -> Mask:
    """The mask, turned upright; refused if its size is not the photograph's or a value is not a class."""
    mask = fitted(mask, (record.height, record.width), Path(record.path))
    wrong = np.setdiff1d(np.unique(mask), [*range(len(dataset.classes) + 1), VOID])
    if len(wrong):
        raise DataError(f"it contains {', '.join(map(str, wrong[:5]))}, which is not a class id")
    return mask


# --- a folder ---------------------------------------------------------------------------------------------------------


def _of_folder(folder: Path, dataset: Dataset) -> Named:
    inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), folder)
    paths = [path for path in sorted(inside.rglob("*.png")) if not path.name.startswith(".")]
    if not paths:
        raise DataError(
            f"{folder}: contains no mask (*.png)", "Name a folder of PNG masks, or a JSON of COCO instances."
        )
    values, colours = _values(folder, dataset), _colours(folder, dataset)
    for path in paths:
        name = path.stem.removesuffix(LABEL_IDS)
        yield path.relative_to(folder).as_posix(), name, _reader(path, values, colours)


def _reader(path: Path, values: NDArray[np.uint8], colours: Mapping[int, int]) -> Load:
    return lambda record: _read_png(path, values, colours)


def _read_png(path: Path, values: NDArray[np.uint8], colours: Mapping[int, int]) -> Mask:
    try:
        data = read_file(path)
        with opened_picture(data, formats=MASKS) as opened:
            in_colours = opened.mode in ("RGB", "RGBA")
            pixels = np.array(opened.convert("RGB"), dtype=np.int64) if in_colours else None
    except FileRefusedError as error:
        raise DataError(error.reason) from None
    except DataError as error:
        raise DataError(f"not a readable mask: {error.problem}") from None
    if pixels is None:
        numbers: Mask = values[decode_mask(data)]
        return numbers
    values_in_use, indices = np.unique(pixels @ [65536, 256, 1], return_inverse=True)
    unknown = [colour for colour in values_in_use.tolist() if colour not in colours]
    if unknown:
        shown = ", ".join(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in unknown[:3])
        raise DataError(f"it contains the colour {shown}, which is not a class's")
    ids = np.array([colours[colour] for colour in values_in_use.tolist()], dtype=np.uint8)
    mask: Mask = ids[indices].reshape(pixels.shape[:2])
    return mask


def _rows(path: Path) -> list[str]:
    try:
        return [row.strip() for row in text_rows(path) if row.strip()]
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}") from None


def _number(name: str, path: Path, dataset: Dataset) -> int:
    known = dataset.classes.names
    if name not in known:
        raise DataError(f"{path}: {name!r} is not a class{did_you_mean(name, known)}", "Correct the name of the class.")
    return known.index(name) + 1


def _values(folder: Path, dataset: Dataset) -> NDArray[np.uint8]:
    """[256] uint8: pixel value in the PNGs → class id."""
    table, path = np.arange(256, dtype=np.uint8), folder / "classes.txt"
    if path.is_file():
        for value, name in list(enumerate(_rows(path)))[1:]:
            table[value] = _number(name, path, dataset)
    return table


def _colours(folder: Path, dataset: Dataset) -> dict[int, int]:
    """Colour as one number → class id: of labelmap.txt, `name:r,g,b:parts:actions`, else VOC's."""
    path = folder / "labelmap.txt"
    if not path.is_file():
        ids = [*range(len(dataset.classes) + 1), VOID]
        return {int(palette()[k] @ np.array([65536, 256, 1])): k for k in ids}
    numbers = {}
    for row in _rows(path):
        if row.startswith("#"):
            continue
        name, _, rest = row.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        except ValueError:
            raise DataError(f"{path}: {row[:60]!r} is not of the form name:r,g,b::", "Correct this row.") from None
        known = {"background": BACKGROUND, "void": VOID}
        numbers[red << 16 | green << 8 | blue] = known[name] if name in known else _number(name, path, dataset)
    return numbers


# --- COCO -------------------------------------------------------------------------------------------------------------


def _of_coco(path: Path, dataset: Dataset) -> Named:
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
        categories = {c["id"]: str(c["name"]) for c in loaded["categories"]}
        images = [(int(i["id"]), str(i["file_name"]), str(i.get("image_id", ""))) for i in loaded["images"]]
        of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number, _, _ in images}
        for annotation in loaded.get("annotations", ()):
            of_image[annotation["image_id"]].append(annotation)
        shared = [
            f"{key}[{number}]: {problem}"
            for key, field_name in (("categories", "name"), ("images", "file_name"))
            for number, problem in shared_ids(key, list(enumerate(loaded[key])), field_name)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO instances: {type(error).__name__}: {str(error)[:80]}",
            "Name a JSON with images, annotations and categories, or a folder of PNG masks.",
        ) from None
    if shared:
        more = [f"  … and {len(shared) - SHOWN} more"] if len(shared) > SHOWN else []
        lines = [f"{path}: ids are not unique", *(f"  {one_line(line)}" for line in shared[:SHOWN]), *more]
        raise DataError("\n".join(lines), "Give each of these an id of its own in the JSON.")
    used = {a.get("category_id") for listed in of_image.values() for a in listed}
    numbers = {k: _number(name, path, dataset) for k, name in categories.items() if k in used}
    known = _names(dataset)
    for number, name, image_id in images:
        stem = PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else name
        choices = (image_id, stem, PurePosixPath(stem).name)
        chosen = next((choice for choice in choices if choice in known), stem)
        yield f"{path.name}, {name}", chosen, _drawer(of_image[number], numbers)


def _drawer(annotations: Sequence[Mapping[str, Any]], numbers: Mapping[int, int]) -> Load:
    def load(record: ImageRecord) -> Mask:
        unknown = [a.get("category_id") for a in annotations if a.get("category_id") not in numbers]
        if unknown:
            raise DataError(f"category {unknown[0]} is not a class")
        return draw(annotations, numbers, record.height, record.width)

    return load
