"""Masks that were edited as PNG files: palette, grey or in colours, as editors and annotation tools save them.

A palette PNG is read by its numbers where its palette is ours (or a ramp of greys, which says nothing), else by its colours:
editors write a palette of the colours in use alone, in another order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from labelfactory.dataset.prepared import Dataset
from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import FileRefusedError, read_file
from labelfactory.json_files import read_json
from labelfactory.schema import BACKGROUND, VOID, Mask
from sources._findings import text_rows
from sources._mask_files import (
    UNKNOWN,
    MaskFile,
    Values,
    colour_of,
    has_our_palette,
    looked_up,
    read_mask_file,
    shown,
    with_erased,
)

FOLDERS = ("SegmentationClass", "gtFine")
"""Mask folders of VOC and Cityscapes exports; the photographs beside them are not masks."""
DEEP = 3
"""Folders from the one of masks to the masks, as in gtFine/train/all."""
LABELS = "labels.json"
CLASS_FILES = ("classes.txt", "labelmap.txt", LABELS)
"""What says how a folder numbers its classes: their names by row, CVAT's `name:r,g,b:parts:actions`, name and id of each label."""
NO_CLASSES = {"background": BACKGROUND, "void": VOID, "ignored": VOID}
"""What CVAT's labelmap.txt calls the rest."""
BLURRED = 0.1
"""Share of pixels that --nearest may change; more is another picture, no edge that an editor has smoothed."""


class _Label(TypedDict):
    """What is read of an entry of LABELS."""

    name: str
    id: int


@dataclass(frozen=True)
class ClassTable:
    """How a folder numbers and colours the classes."""

    numbers: Mapping[int, int]  # number in a file → class id
    colours: Mapping[int, int]  # colour → class id
    colour_of: Mapping[int, int]  # number in a file → its colour in a palette of ours

    @property
    def has_void(self) -> bool:
        """Whether it can say void; labels of CVAT cannot."""
        return VOID in self.colours.values()


def class_number(name: str, path: Path, dataset: Dataset) -> int:
    """The class id of a name.

    Raises:
        DataError: it is not a class.
    """
    known = dataset.classes.names
    if name not in known:
        raise DataError(f"{path}: {name!r} is not a class{did_you_mean(name, known)}", "Correct the name of the class.")
    return known.index(name) + 1


def table_folder(png: Path, root: Path, *, above: bool) -> Path | None:
    """The nearest folder around a mask that says how its classes are numbered; None where none does.

    Args:
        png: the mask.
        root: the folder that was named, around it.
        above: whether that of a VOC or Cityscapes data set counts, too, where that folder is or lies in its folder of masks.
    """
    around = [folder for folder in png.parents if folder.is_relative_to(root)]
    if above:
        last = list(reversed(root.absolute().parts))[:DEEP]
        around += list(root.absolute().parents)[: next((k + 1 for k, name in enumerate(last) if name in FOLDERS), 0)]
    return next((folder for folder in around if _numbers_classes(folder)), None)


def _numbers_classes(folder: Path) -> bool:
    """Whether a folder has CLASS_FILES; files of other tools may have the name of the last one."""
    others = any((folder / name).is_file() for name in CLASS_FILES if name != LABELS)
    return others or ((folder / LABELS).is_file() and bool(_labels(folder / LABELS)))


def class_table(folder: Path | None, dataset: Dataset) -> ClassTable:
    """Read CLASS_FILES of a folder; else our numbers and VOC's colours.

    Raises:
        DataError: one of them is not readable or names what is not a class.
    """
    ids = (BACKGROUND, *range(1, len(dataset.classes) + 1), VOID)
    numbers = {number: number for number in range(256)}
    colours, own = {colour_of(k): k for k in ids}, {number: colour_of(number) for number in range(256)}
    if folder is None:
        return ClassTable(numbers, colours, own)
    if (folder / LABELS).is_file():
        numbers |= _label_ids(folder / LABELS, dataset)
    if (folder / "labelmap.txt").is_file():
        rows = list(_label_map(folder / "labelmap.txt", dataset))
        colours = dict(rows)
        own = {number: colour for number, (colour, _) in enumerate(rows)}
        numbers |= {number: class_id for number, (_, class_id) in enumerate(rows)}
    if (folder / "classes.txt").is_file():
        listed = list(enumerate(_rows(folder / "classes.txt")))[1:]
        numbers |= {number: class_number(name, folder / "classes.txt", dataset) for number, name in listed}
    return ClassTable(numbers, colours, own)


def _label_ids(path: Path, dataset: Dataset) -> dict[int, int]:
    """The class id of each number in a table of labels as `export cityscapes` writes it; empty for a file of another kind."""
    found = {}
    for label in _labels(path):
        meant = NO_CLASSES.get(label["name"]) if label["name"] not in dataset.classes.names else None
        found[label["id"]] = class_number(label["name"], path, dataset) if meant is None else meant
    return found


def _labels(path: Path) -> list[_Label]:
    """Name and number of each label; none in a file of another tool, which has no numbers."""
    listed = read_json(path, Any, "Correct it, or remove it where the masks have the data set's own class ids.")
    try:
        labels: list[_Label] = TypeAdapter(list[_Label]).validate_python(listed)
    except ValidationError:
        return []
    return labels


def _label_map(path: Path, dataset: Dataset) -> list[tuple[int, int]]:
    """Colour and class id of each row."""
    found = []
    for row in _rows(path):
        if row.startswith("#"):
            continue
        name, _, rest = row.partition(":")
        try:
            red, green, blue = (int(part) for part in rest.split(":")[0].split(","))
        except ValueError:
            raise DataError(f"{path}: {row[:60]!r} is not of the form name:r,g,b::", "Correct this row.") from None
        meant = NO_CLASSES.get(name) if name not in dataset.classes.names else None
        found.append((red << 16 | green << 8 | blue, class_number(name, path, dataset) if meant is None else meant))
    return found


def _rows(path: Path) -> list[str]:
    try:
        return [row.strip() for row in text_rows(path) if row.strip()]
    except FileRefusedError as error:
        raise DataError(f"{path}: not readable: {error.reason}") from None


def read_edited_png(path: Path, table: ClassTable, *, nearest: bool, tagged: bool = True) -> tuple[Mask, int]:
    """Read one mask.

    Args:
        path: the PNG.
        table: of its folder.
        nearest: take pixels of no class's colour for the nearest class that the mask shows.
        tagged: whether the photograph shows a class.

    Returns:
        [H, W] uint8 of class ids and void, and the number of pixels that were not exact.

    Raises:
        DataError: not readable, or a pixel is of no class.
    """
    try:
        file = read_mask_file(read_file(path))
    except FileRefusedError as error:
        raise DataError(error.reason) from None
    values = _values(file, table)
    if tagged and _says_nothing(file):
        raise DataError("it holds 0 and 255 alone, and 255 is void; write the number of the class")
    unknown = values == UNKNOWN
    changed = int(file.counts[unknown].sum())
    if changed:
        problem = _unknown(file, unknown, changed)
        if np.any(file.erased & unknown) or changed > BLURRED * file.places.size or _by_numbers(file, table):
            raise DataError(problem)
        if not nearest:
            raise DataError(f"{problem}; --nearest takes them for the nearest class")
        values = _nearest(file, values, table)
    mask: Mask = values.astype(np.uint8)[file.places]
    return mask, changed


def _values(file: MaskFile, table: ClassTable) -> Values:
    by_colour = with_erased(looked_up(file.colours, table.colours), file)
    if file.in_colours and file.numbers is not None and UNKNOWN in by_colour:  # greys, all of them numbers of classes?
        numbers = with_erased(looked_up(file.numbers, table.numbers), file)
        return numbers if np.isin(numbers, list(table.colours.values())).all() else by_colour
    if _by_numbers(file, table):
        return with_erased(looked_up(np.asarray(file.numbers), table.numbers), file)
    return by_colour


def _by_numbers(file: MaskFile, table: ClassTable) -> bool:
    if file.in_colours or file.numbers is None:
        return False
    return file.mode != "P" or has_our_palette(file, table.colour_of)


def _says_nothing(file: MaskFile) -> bool:
    """Whether a grey mask is black and white: an object for its writer, but void by our numbers."""
    grey = file.numbers is not None and file.mode != "P"
    return grey and VOID in np.asarray(file.numbers) and set(np.asarray(file.numbers).tolist()) <= {BACKGROUND, VOID}


def _unknown(file: MaskFile, unknown: np.ndarray, count: int) -> str:
    if np.any(file.erased & unknown):
        return (
            f"{count} pixels are transparent but keep the colour of a class: fill them with the class or the background"
        )
    colours = ", ".join(shown(int(colour)) for colour in file.colours[unknown][:3])
    if file.mode == "P":
        first = int(np.flatnonzero(unknown)[0])
        number, colour = int(np.asarray(file.numbers)[first]), shown(int(file.colours[first]))
        return (
            f"its palette is not ours: number {number} has the colour {colour}, which is not a class's ({count} pixels)"
        )
    return f"it contains the colour {colours}, which is not a class's ({count} of {file.places.size} pixels)"


def _nearest(file: MaskFile, values: Values, table: ClassTable) -> Values:
    """The values, with the nearest of the mask's own classes where there was none: a smoothed edge lies between two of them."""
    known = values != UNKNOWN
    exact = file.colours[known] if known.any() else np.array(list(table.colours), dtype=np.int64)
    ids = values[known] if known.any() else np.array(list(table.colours.values()), dtype=np.int64)
    distances = ((_channels(file.colours[~known])[:, None] - _channels(exact)[None]) ** 2).sum(axis=2)
    made = values.copy()
    made[~known] = ids[distances.argmin(axis=1)]
    return made


def _channels(colours: Values) -> Values:
    """[n, 3] red, green and blue."""
    return np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
