"""Masks that were edited elsewhere: a folder of PNG masks, or a file of COCO instances, as corrections.

    DIR              *.png, named like our exports name them; below SegmentationClass/ or gtFine/ where there is one.
                     Pixels are class ids; of classes.txt where that is there. Colours, too: those of labelmap.txt (CVAT
                     writes it), else VOC's.
    INSTANCES.json   COCO instances; images by file_name, classes by name. An image without an annotation is background.

A mask that equals what is there already was not edited: it is counted and left alone.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelfactory.dataset.images import decode_mask, orientation, upright
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError, did_you_mean
from labelfactory.names import file_name
from labelfactory.progress import progress
from labelfactory.schema import BACKGROUND, VOID, Mask, palette
from sources.coco import draw

SHOWN = 20
LABEL_IDS = "_gtFine_labelIds"
FOLDERS = ("SegmentationClass", "gtFine")
"""Where VOC and Cityscapes exports keep their masks; the photographs beside them are no masks."""

Current = Callable[[ImageRecord], Mask | None]
"""The mask that an image has now, [H, W] uint8; None where it has none."""


@dataclass
class Edited:
    """What a folder or file brings."""

    masks: dict[str, Mask] = field(default_factory=dict)  # image_id → [H, W] uint8 in the data set's class ids
    same: list[str] = field(default_factory=list)  # images whose mask equals the one that is there


def find_edited(path: Path, dataset: Dataset, current: Current, *, take_equal: bool = False) -> Edited:
    """Read edited masks and hold each against its photograph and against the mask that is there.

    Args:
        path: the folder, or the JSON.
        dataset: whose images they are.
        current: gives the mask that an image has now.
        take_equal: take masks that equal the one that is there, too: somebody looked at them and found them right.

    Raises:
        DataError: lists every mask that cannot be taken, with its file and the reason; then none is taken.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", "Name a folder of PNG masks, or a JSON of COCO instances.")
    found = list(_of_folder(path, dataset) if path.is_dir() else _of_coco(path, dataset))
    names, training = _names(dataset), {record.image_id for record in dataset.training}
    edited, problems = Edited(), []
    with progress("corrections", len(found)) as tick:
        for where, name, load in found:
            tick()
            record = names.get(name)
            if record is None:
                known = sorted(names) if len(names) < 10_000 else ()
                near = did_you_mean(name, known)
                problems.append(
                    f"{where}: no image {name!r} is in the data set{near if 'did you mean' in near else ''}"
                )
            elif record.image_id not in training:
                problems.append(f"{where}: {record.image_id} is not on the training list; only its masks are made")
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
        count = f"{len(problems)} of {len(found)} masks cannot be taken, so none is"
        more = [f"  … and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        lines = [f"{path}: {count}", *(f"  {line}" for line in problems[:SHOWN]), *more]
        raise DataError("\n".join(lines), "Mend these or take them out, and add the rest again.")
    return edited


Load = Callable[[ImageRecord], Mask]
Named = Iterator[tuple[str, str, Load]]
"""Where a mask lies, the name of its image, and what reads it."""


def _names(dataset: Dataset) -> dict[str, ImageRecord]:
    """Images by their id and by the name that exports give their files."""
    found = {file_name(record.image_id): record for record in dataset.usable}
    return found | {record.image_id: record for record in dataset.usable}


def _checked(mask: Mask, record: ImageRecord, dataset: Dataset) -> Mask:
    """The mask upright, of its photograph's size, of nothing but classes."""
    size = (record.height, record.width)
    if mask.shape != size:
        mask = upright(mask, orientation(Path(record.path)))
    if mask.shape != size:
        raise DataError(f"{mask.shape[1]}×{mask.shape[0]} pixels, its photograph {size[1]}×{size[0]}")
    wrong = np.setdiff1d(np.unique(mask), [*range(len(dataset.classes) + 1), VOID])
    if len(wrong):
        raise DataError(f"it holds {', '.join(map(str, wrong[:5]))}, which is no class id")
    return mask


# --- a folder ---------------------------------------------------------------------------------------------------------


def _of_folder(folder: Path, dataset: Dataset) -> Named:
    inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), folder)
    paths = [path for path in sorted(inside.rglob("*.png")) if not path.name.startswith(".")]
    if not paths:
        raise DataError(f"{folder}: holds no mask (*.png)", "Name a folder of PNG masks, or a JSON of COCO instances.")
    values, colours = _values(folder, dataset), _colours(folder, dataset)
    for path in paths:
        name = path.stem.removesuffix(LABEL_IDS)
        yield path.relative_to(folder).as_posix(), name, _reader(path, values, colours)


def _reader(path: Path, values: NDArray[np.uint8], colours: Mapping[int, int]) -> Load:
    return lambda record: _read_png(path, values, colours)


def _read_png(path: Path, values: NDArray[np.uint8], colours: Mapping[int, int]) -> Mask:
    try:
        with Image.open(path) as opened:
            in_colours = opened.mode in ("RGB", "RGBA")
            pixels = np.array(opened.convert("RGB"), dtype=np.int64) if in_colours else None
        if pixels is None:
            numbers: Mask = values[decode_mask(path.read_bytes())]
            return numbers
    except DataError:
        raise
    except Exception as error:  # a decoder fed with a hostile file raises anything
        raise DataError(f"not a readable mask: {error}") from None
    seen, places = np.unique(pixels @ [65536, 256, 1], return_inverse=True)
    unknown = [colour for colour in seen.tolist() if colour not in colours]
    if unknown:
        shown = ", ".join(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in unknown[:3])
        raise DataError(f"it holds the colour {shown}, which is no class's")
    ids = np.array([colours[colour] for colour in seen.tolist()], dtype=np.uint8)
    mask: Mask = ids[places].reshape(pixels.shape[:2])
    return mask


def _rows(path: Path) -> list[str]:
    try:
        return [row.strip() for row in path.read_text(encoding="utf-8-sig").splitlines() if row.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def _number(name: str, path: Path, dataset: Dataset) -> int:
    known = dataset.classes.names
    if name not in known:
        raise DataError(f"{path}: {name!r} is no class{did_you_mean(name, known)}", "Mend the name of the class.")
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
    found = {}
    for row in _rows(path):
        if row.startswith("#"):
            continue
        name, _, rest = row.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        except ValueError:
            raise DataError(f"{path}: {row[:60]!r} is not of the form name:r,g,b::", "Mend this row.") from None
        known = {"background": BACKGROUND, "void": VOID}
        found[red << 16 | green << 8 | blue] = known[name] if name in known else _number(name, path, dataset)
    return found


# --- COCO -------------------------------------------------------------------------------------------------------------


def _of_coco(path: Path, dataset: Dataset) -> Named:
    try:
        loaded = json.loads(path.read_bytes())
        categories = {c["id"]: str(c["name"]) for c in loaded["categories"]}
        images = [(int(i["id"]), str(i["file_name"]), str(i.get("image_id", ""))) for i in loaded["images"]]
        of_image: dict[int, list[Mapping[str, Any]]] = {number: [] for number, _, _ in images}
        for annotation in loaded.get("annotations", ()):
            of_image[annotation["image_id"]].append(annotation)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO instances: {type(error).__name__}: {str(error)[:80]}",
            "Name a JSON with images, annotations and categories, or a folder of PNG masks.",
        ) from None
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
            raise DataError(f"category {unknown[0]} is no class")
        return draw(annotations, numbers, record.height, record.width)

    return load
