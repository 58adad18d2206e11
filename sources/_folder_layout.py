"""Which folders are classes and which are lists; what could be either is asked."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.typed_names import typed
from sources._findings import Findings
from sources._folder_files import folders_in, loose, pass_over_loose, photographs
from sources._folder_names import KINDS, UNLABELED, is_one_of, list_of


@dataclass(frozen=True)
class ClassFolder:
    """A folder of photographs with one tag and one list."""

    folder: Path
    name: str  # of its class
    list_folder: str  # its name, that of a list; empty: in none


def class_folders(findings: Findings, root: Path, named: Collection[str]) -> list[ClassFolder]:
    """The folders of classes, below those of lists if there are any.

    Raises:
        DataError: there is none, or they are no classes.
    """
    inner = folders_in(root)
    pass_over_loose(findings, root)
    if not inner:
        raise DataError(f"{root}: contains no folder", "Put the photographs of each class into a folder of its name.")
    if all(is_one_of(folder.name, KINDS) for folder in inner) and not any(folder.name in named for folder in inner):
        raise DataError(
            f"{root}: these are kinds of files, no classes: {_listed(inner)}",
            "Type `labelfactory import voc`, `coco` or `table`, or name a folder that holds one folder for each class.",
        )
    like_lists = [folder for folder in inner if list_of(folder.name) and folder.name not in named]
    with_classes = [folder for folder in like_lists if folders_in(folder)]
    if with_classes:
        return _below_lists(findings, inner, with_classes)
    if len(like_lists) > 1 or like_lists == inner:
        raise DataError(
            f"{root}: these look like lists and hold no folder of a class: {_listed(like_lists)}",
            f"Put a folder for each class into them; if they are the classes, name them: --classes {_typed(inner)}",
        )
    below = {folder: folders_in(folder) for folder in inner}
    if len(inner) == 1 and inner[0].name not in named and len(below[inner[0]]) > 1 and not loose(inner[0]):
        raise DataError(
            f"{root}: contains one folder, {inner[0].name}, which holds folders: {_listed(below[inner[0]])}",
            f"If those are the classes, type `labelfactory import folder {inner[0]}`; if {inner[0].name} is the class, "
            f"--classes {_typed(inner)}",
        )
    if all(folders and all(list_of(f.name) for f in folders) and not loose(k) for k, folders in below.items()):
        return [ClassFolder(f, k.name, f.name) for k, folders in below.items() for f in folders]
    return [ClassFolder(folder, folder.name, "") for folder in inner]


def _below_lists(findings: Findings, inner: Sequence[Path], lists: Sequence[Path]) -> list[ClassFolder]:
    """Classes below folders of lists. Folders without a class are not taken.

    Raises:
        DataError: another folder beside the lists holds photographs.
    """
    root = findings.root
    for folder in inner:
        files = [] if folder in lists else photographs(findings, folder)
        if files and (is_one_of(folder.name, UNLABELED) or list_of(folder.name)):
            findings.decisions.append(f"{folder.name}/: {len(files)} photographs without a class are not taken")
        elif files:
            raise DataError(
                f"{root}: these look like lists: {_listed(lists)}; {folder.name} is none, and holds {len(files)} photographs",
                f"Move {folder.name} to another place; if they are all classes, name them: --classes {_typed(inner)}",
            )
    groups = []
    for folder in lists:
        pass_over_loose(findings, folder)
        for below in folders_in(folder):
            if is_one_of(below.name, UNLABELED):
                count = len(photographs(findings, below))
                findings.decisions.append(
                    f"{folder.name}/{below.name}/: {count} photographs without a class are not taken"
                )
            else:
                groups.append(ClassFolder(below, below.name, folder.name))
    return groups


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(folder.name for folder in folders)


def _typed(folders: Sequence[Path]) -> str:
    return shlex.quote(",".join(typed(folder.name) for folder in folders))
