"""Which folders are classes and which are lists; what could be either is asked: --class-depth, or --classes."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from labelfactory.errors import DataError
from sources._findings import Findings
from sources._folder_files import folders_in, loose, pass_over_loose, photographs
from sources._folder_names import KINDS, is_one_of, is_unlabeled, list_of

SHOWN = 6


@dataclass(frozen=True)
class ClassFolder:
    """A folder of photographs with one tag and one list."""

    folder: Path
    name: str  # of its class
    list_folder: str  # its name, that of a list; empty: in none


def class_folders(findings: Findings, root: Path, named: Collection[str], depth: int = 0) -> list[ClassFolder]:
    """The folders of classes, below those of lists if there are any.

    Args:
        findings: gets what is passed over.
        root: the folder.
        named: folders that are classes, whatever they are called.
        depth: of the classes below `root`, from 1; 0 to find out.

    Raises:
        DataError: there is none, or they are no classes.
    """
    inner = folders_in(root)
    pass_over_loose(findings, root)
    if not inner:
        raise DataError(f"{root}: contains no folder", "Put the photographs of each class into a folder of its name.")
    if depth:
        return _at_depth(findings, inner, depth)
    if not any(folder.name in named for folder in inner):
        _refuse_kinds(root, inner)
    like_lists = [folder for folder in inner if list_of(folder.name) and folder.name not in named]
    with_classes = [folder for folder in like_lists if folders_in(folder)]
    if with_classes:
        return _below_lists(findings, inner, with_classes)
    if len(like_lists) > 1 or like_lists == inner:
        raise DataError(
            f"{root}: these look like lists and hold no folder of a class: {_some(like_lists)}",
            "Put a folder for each class into them; if they are the classes, type --class-depth 1.",
        )
    below = {folder: folders_in(folder) for folder in inner}
    inside = [folder for folders in below.values() for folder in folders]
    only_lists = all(list_of(folder.name) and not folders_in(folder) for folder in inside)
    if only_lists and all(below.values()) and not any(loose(folder) for folder in inner):
        return [ClassFolder(f, k.name, f.name) for k, folders in below.items() for f in folders]
    repeated = len(inner) == 1 or _repeated(below.values())
    if repeated and all(below.values()) and not any(loose(k) or k.name in named for k in inner):
        names = ", ".join(sorted({folder.name for folder in inside})[:SHOWN])
        if len(inner) == 1:
            raise DataError(
                f"{root}: contains one folder, {inner[0].name}, which holds folders: {names}",
                f"Type `labelfactory import folder {inner[0]}`, or --class-depth 1 if {inner[0].name} is the class.",
            )
        raise DataError(
            f"{root}: {_some(inner)} hold folders of the same names: {names}",
            f"Type --class-depth 2 if those are the classes, --class-depth 1 if {_some(inner)} are.",
        )
    return [ClassFolder(folder, folder.name, "") for folder in inner]


def _repeated(groups: Iterable[Sequence[Path]]) -> bool:
    """Whether folders of one name are in several folders."""
    counts = Counter(folder.name for folders in groups for folder in folders)
    return any(count > 1 for count in counts.values())


def _at_depth(findings: Findings, folders: Sequence[Path], depth: int) -> list[ClassFolder]:
    """The folders at a depth; those above may be lists.

    Raises:
        DataError: there is none.
    """
    root = findings.root
    for _ in range(depth - 1):
        for folder in folders:
            pass_over_loose(findings, folder)
        folders = [below for folder in folders for below in folders_in(folder)]
    if not folders:
        raise DataError(f"{root}: --class-depth {depth}: no folder is that deep", "Type a smaller number.")
    above = {folder: [name for name in folder.relative_to(root).parts[:-1] if list_of(name)] for folder in folders}
    return [ClassFolder(folder, folder.name, (names or [""])[0]) for folder, names in above.items()]


def _refuse_kinds(root: Path, folders: Sequence[Path]) -> None:
    if folders and all(is_one_of(folder.name, KINDS) for folder in folders):
        raise DataError(
            f"{root}: these are kinds of files, no classes: {_some(folders)}",
            "Type `labelfactory import voc`, `coco` or `table`, or name a folder that holds one folder for each class.",
        )


def _below_lists(findings: Findings, inner: Sequence[Path], lists: Sequence[Path]) -> list[ClassFolder]:
    """Classes below folders of lists. Folders without a class are not taken.

    Raises:
        DataError: another folder beside the lists holds photographs.
    """
    root = findings.root
    for folder in inner:
        files = [] if folder in lists else photographs(findings, folder)
        if files and (is_unlabeled(folder.name) or list_of(folder.name)):
            findings.decisions.append(f"{folder.name}/: {len(files)} photographs without a class are not taken")
        elif files:
            raise DataError(
                f"{root}: these look like lists: {_some(lists)}; {folder.name} is none, and holds {len(files)} photographs",
                f"Move {folder.name} to another place, or type --class-depth 1 if they are all classes.",
            )
    groups = []
    for folder in lists:
        pass_over_loose(findings, folder)
        inside = folders_in(folder)
        while len(inside) == 1 and list_of(inside[0].name) == list_of(folder.name):  # seg_train/seg_train/
            inside = folders_in(inside[0])
        _refuse_kinds(folder, inside)
        for below in inside:
            if is_unlabeled(below.name):
                count = len(photographs(findings, below))
                findings.decisions.append(
                    f"{folder.name}/{below.name}/: {count} photographs without a class are not taken"
                )
            else:
                groups.append(ClassFolder(below, below.name, folder.name))
    return groups


def _some(folders: Sequence[Path]) -> str:
    """The names of the first folders."""
    return ", ".join([*(folder.name for folder in folders[:SHOWN]), *(["…"] if len(folders) > SHOWN else [])])
