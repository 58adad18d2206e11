"""Photographs in folders that are named after their class.

    DIR/<class>/<name>.jpg                deeper folders belong to the class too
    DIR/train/<class>/…, DIR/val/<class>/… lists, if every folder of DIR is named train, val, valid, validation or test

The image id is the path from DIR without its suffix: `cat/holiday/img 1`. Hidden files and folders are ignored.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._batch import Batch, Candidate

LISTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find_folder(root: Path, *, classes: Sequence[str] = (), list_name: str = "") -> Batch:
    """Find the photographs of a folder; none is opened.

    Args:
        root: the folder.
        classes: only these folders; empty for all.
        list_name: put all photographs on this list.

    Raises:
        DataError: there is no such folder, or it contains no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that holds one folder for each class.")
    inner = _folders(root)
    if not inner:
        raise DataError(f"{root}: contains no folder", "Put the photographs of each class into a folder of its name.")
    listed = all(folder.name.lower() in LISTS for folder in inner)
    parents = {folder: LISTS[folder.name.lower()] for folder in inner} if listed else {root: list_name}
    candidates: list[Candidate] = []
    names: set[str] = set()
    problems: list[str] = []
    for parent, name in parents.items():
        for folder in _folders(parent):
            names.add(folder.name)
            if classes and folder.name not in classes:
                continue
            files = list(_files(folder))
            if not any(path.suffix.lower() in PHOTOGRAPHS for path in files):
                problems.append(f"{folder}: contains no photograph ({', '.join(PHOTOGRAPHS)})")
            for path in files:
                image_id = path.relative_to(root).with_suffix("").as_posix()
                lists = (name,) if name else ()
                candidates.append(Candidate(image_id, path, (folder.name,), lists))
    return Batch(root, f"import folder {root}", tuple(sorted(names)), tuple(candidates), problems=tuple(problems))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Every file with the suffix of a photograph."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in PHOTOGRAPHS and path.is_file() and not hidden:
            yield path
