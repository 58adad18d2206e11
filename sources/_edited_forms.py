"""In which form edited masks come: a folder of PNG files, COCO, CVAT or Label Studio; and the masks in it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.dataset.prepared import Dataset
from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import LARGEST_TABLE, check_path, read_file, rubbish
from sources._coco_objects import Crowds
from sources._edited_coco import edited_coco
from sources._edited_cvat import edited_cvat
from sources._edited_mask import EditedMask, Load
from sources._edited_pngs import FOLDERS, ClassTable, class_table, read_edited_png, table_folder
from sources._edited_tasks import STROKES, edited_strokes, edited_tasks, is_tasks, names_of_tasks

LABEL_IDS = "_gtFine_labelIds"
PHOTOGRAPHS = ("images", "JPEGImages", "leftImg8bit")
"""Folders of photographs beside masks or their JSON, as tools and our exports write them."""
NAME_ONE = "Name a folder or zip of PNG masks, a JSON of COCO or Label Studio, or CVAT's annotations.xml."


@dataclass(frozen=True)
class Reading:
    """How edited masks are read where the files leave it open."""

    nearest: bool = False  # take pixels of no class's colour, and masks of another scale, for the nearest
    crowds: Crowds = "auto"  # what COCO annotations of `iscrowd: 1` are


def listed_masks(
    path: Path, dataset: Dataset, how: Reading, decisions: list[str], *, above: bool
) -> Iterator[EditedMask]:
    """The masks of a folder or file, of which none is opened yet.

    Args:
        path: the folder or file.
        dataset: of the images.
        how: how they are read where the files leave it open.
        decisions: gets what was decided, for a person.
        above: whether what lies around the folder is the person's own, not what an archive was unpacked into.

    Raises:
        DataError: it is in no such form, or not readable.
    """
    if path.is_dir():
        yield from _of_folder(path, dataset, how, decisions, above=above)
    elif path.suffix.lower() == ".xml":
        yield from edited_cvat(path, dataset)
    else:
        loaded = _json(path)
        if is_tasks(loaded):
            yield from edited_tasks(path, loaded, dataset)
        else:
            yield from edited_coco(path, loaded, dataset, how.crowds, decisions)


def _json(path: Path) -> Any:
    try:
        return json.loads(read_file(path, largest=LARGEST_TABLE))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not COCO instances: {type(error).__name__}: {in_short(error, 80)}", NAME_ONE
        ) from None


def _of_folder(
    folder: Path, dataset: Dataset, how: Reading, decisions: list[str], *, above: bool
) -> Iterator[EditedMask]:
    inside = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    files = [file for file in _files(folder, folder, ".json", ".xml") if file.name != "provenance.json"]
    pngs = _files(folder, inside or folder, ".png")
    masks = [png for png in pngs if inside or not set(png.relative_to(folder).parts[:-1]) & set(PHOTOGRAPHS)]
    pngs = masks or ([] if files else pngs)
    strokes = [png for png in pngs if STROKES.fullmatch(png.name)]
    if inside is None and not strokes and (files and (not pngs or any(f.suffix.lower() == ".xml" for f in files))):
        if len(files) > 1:
            names = ", ".join(file.relative_to(folder).as_posix() for file in files[:5])
            raise DataError(f"{folder}: contains several files: {names}", "Name one of them.")
        yield from listed_masks(files[0], dataset, how, decisions, above=above)
        return
    if not pngs:
        raise DataError(f"{folder}: contains no mask (*.png)", NAME_ONE)
    if strokes:
        tasks = {k: v for file in files if file.suffix == ".json" for k, v in names_of_tasks(_json(file)).items()}
        yield from edited_strokes(strokes, tasks, dataset)
    _files(folder, folder, ".txt")
    tables: dict[Path | None, ClassTable] = {}
    for png in pngs:
        if png not in strokes:
            of = table_folder(png, folder, above=above)
            if of not in tables:
                tables[of] = class_table(of, dataset)
                decisions += [f"classes are numbered as {of} says"] if of not in (None, folder) else []
            table = tables[of]
            name = png.relative_to(inside or folder).with_suffix("").as_posix().removesuffix(LABEL_IDS)
            where, load = png.relative_to(folder).as_posix(), _reader(png, table, how)
            yield EditedMask(where, (name, f"{name}.png"), load, has_void=table.has_void, has_specks=table.has_void)


def _files(root: Path, folder: Path, *suffixes: str) -> list[Path]:
    """Files below a folder. Raises FileRefusedError: one is a link out of `root`, which others may have packed, and the project."""
    return [
        check_path(path, "read", within=root)
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in suffixes and not rubbish(path.relative_to(folder)) and path.is_file()
    ]


def _reader(path: Path, table: ClassTable, how: Reading) -> Load:
    return lambda record: read_edited_png(path, table, nearest=how.nearest, tagged=bool(record.tags))
