"""Photographs in folders that are named after their class.

    DIR/<class>/<name>.jpg                 deeper folders belong to the class too
    DIR/train/<class>/…, DIR/valid/<class>/…   lists, by the usual names of splits (Training, valid, test_set, …)
    DIR/<class>/train/…, DIR/<class>/test/…    lists too, if every class has only such folders
    background/, negative/, none/, …       photographs without a tag, unless --classes or --rename names the folder
    unlabeled/                             not taken: nobody said what is on them

The image id is the path from DIR without its suffix: `cat/holiday/img 1`. Hidden files and rubbish (@eaDir, __MACOSX,
Thumbs.db) are passed over.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._batch import Batch, Candidate
from sources._findings import Findings
from sources._folder_files import photographs
from sources._folder_layout import class_folders
from sources._folder_names import NEGATIVES, is_one_of, list_of


def find_folder(
    root: Path,
    *,
    classes: Sequence[str] = (),
    kept: Sequence[str] = (),
    list_name: str = "",
    keep_suffix: bool = False,
    class_depth: int = 0,
) -> Batch:
    """Find the photographs of a folder; none is opened.

    Args:
        root: the folder.
        classes: only these folders; empty for all.
        kept: other folders that are classes, whatever they are called.
        list_name: put all photographs on this list.
        keep_suffix: the suffix is part of the image id.
        class_depth: of the folders of classes below `root`, from 1; 0 to find out.

    Raises:
        DataError: there is no such folder, it contains no folder, or its folders are no classes.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that holds one folder for each class.")
    findings = Findings(root)
    named = {*classes, *kept}
    groups = class_folders(findings, root, named, class_depth)
    candidates: list[Candidate] = []
    untagged: Counter[str] = Counter()
    listed: Counter[str] = Counter()
    names = {group.name for group in groups}
    first: dict[str, Path] = {}
    for group in groups:
        negative = group.name not in named and is_one_of(group.name, NEGATIVES)
        if negative:
            names.discard(group.name)
        elif classes and group.name not in classes:
            continue
        passed_over = Counter(findings.passed_over)
        files = photographs(findings, group.folder)
        if not files and not negative:
            inside = findings.passed_over - passed_over
            other = f"; it contains {', '.join(f'{kind} {n}' for kind, n in sorted(inside.items()))}" if inside else ""
            findings.problems.append(f"{group.folder}: contains no photograph ({', '.join(PHOTOGRAPHS)}){other}")
        listed[group.list_folder] += len(files)
        untagged[group.name] += len(files) if negative else 0
        for path in files:
            whole = path.relative_to(root)
            image_id = (whole if keep_suffix else whole.with_suffix("")).as_posix()
            if first.setdefault(image_id, path) != path:
                other = f"{first[image_id].name} and {path.name} would both be {image_id!r}"
                findings.leave_out(image_id, path, f"{other}; remove one, or --keep-suffix keeps both")
                continue
            lists = tuple(filter(None, [list_name or list_of(group.list_folder)]))
            candidates.append(Candidate(image_id, path, () if negative else (group.name,), lists))
    listed.pop("", None)
    if not list_name and any(name != list_of(name) for name in listed):
        said = ", ".join(f"{name} → {list_of(name)} ({n})" for name, n in sorted(listed.items()))
        findings.decisions.append(f"lists by the names of folders: {said}")
    findings.decisions += [f"{name}/: {n} photographs without a tag" for name, n in untagged.items() if n]
    words = ["import folder", str(root), *(["--keep-suffix"] if keep_suffix else [])]
    words += [f"--class-depth {class_depth}"] if class_depth else []
    return Batch(
        root,
        " ".join(words),
        tuple(sorted(names)),
        candidates=tuple(candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        decisions=tuple(findings.decisions),
        passed_over=findings.passed_over,
    )
