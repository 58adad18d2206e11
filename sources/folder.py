"""Photographs in folders that are named after their class.

    DIR/<class>/<name>.jpg                what lies deeper belongs to the class too
    DIR/train/<class>/…, DIR/val/<class>/… the lists, where every folder of DIR is named train, val, valid, validation or test

The image id is the path from DIR without its suffix: `cat/holiday/img 1`. Hidden files and folders are passed over.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from labelfactory.errors import DataError
from sources._batch import PHOTOGRAPHS, Batch, Candidate

LISTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find_folder(root: Path, *, classes: Sequence[str] = (), list_name: str = "") -> Batch:
    """Find the photographs of a folder; none is opened.

    Args:
        root: the folder.
        classes: take these folders alone; empty for all.
        list_name: the list that all of them stand on, if that is decided.

    Raises:
        DataError: there is no such folder, or no folder in it.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that holds one folder for each class.")
    inner = _folders(root)
    if not inner:
        raise DataError(f"{root}: holds no folder", "Put the photographs of each class into a folder of its name.")
    listed = all(folder.name.lower() in LISTS for folder in inner)
    parents = {folder: LISTS[folder.name.lower()] for folder in inner} if listed else {root: list_name}
    found: list[Candidate] = []
    names: set[str] = set()
    problems: list[str] = []
    for parent, name in parents.items():
        for folder in _folders(parent):
            names.add(folder.name)
            if classes and folder.name not in classes:
                continue
            files = list(_files(folder))
            if not any(path.suffix.lower() in PHOTOGRAPHS for path in files):
                problems.append(f"{folder}: holds no photograph ({', '.join(PHOTOGRAPHS)})")
            for path in files:
                image_id = path.relative_to(root).with_suffix("").as_posix()
                lists = (name,) if name else ()
                found.append(Candidate(image_id, path, (folder.name,), lists))
    return Batch(root, f"import folder {root}", tuple(sorted(names)), tuple(found), problems=tuple(problems))


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """Every file that is meant to be a photograph; what has no known suffix is passed over."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in PHOTOGRAPHS and path.is_file() and not hidden:
            yield path
