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
from dataclasses import dataclass, field
from pathlib import Path

from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._batch import Batch, Candidate
from sources._findings import Findings
from sources._folder_files import photographs
from sources._folder_layout import ClassFolder, class_folders
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
    found = _Found(Findings(root), list_name, keep_suffix)
    findings, named = found.findings, {*classes, *kept}
    names = set()
    for group in class_folders(findings, root, named, class_depth):
        negative = group.name not in named and is_one_of(group.name, NEGATIVES)
        if not negative:
            names.add(group.name)
        if negative or not classes or group.name in classes:
            found.take(group, () if negative else (group.name,))
    findings.decisions += found.decisions()
    words = ["import folder", str(root), *(["--keep-suffix"] if keep_suffix else [])]
    words += [f"--class-depth {class_depth}"] if class_depth else []
    return Batch(
        root,
        " ".join(words),
        tuple(sorted(names)),
        candidates=tuple(found.candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        decisions=tuple(findings.decisions),
        passed_over=findings.passed_over,
    )


@dataclass
class _Found:
    """What the folders of classes contain, one after the other."""

    findings: Findings
    list_name: str
    keep_suffix: bool
    candidates: list[Candidate] = field(default_factory=list)
    first: dict[str, Path] = field(default_factory=dict)  # image id → its file
    listed: Counter[str] = field(default_factory=Counter)  # folder of a list → photographs
    untagged: Counter[str] = field(default_factory=Counter)  # folder without a class → photographs

    def take(self, group: ClassFolder, tags: tuple[str, ...]) -> None:
        """Take the photographs of one folder."""
        before = Counter(self.findings.passed_over)
        files = photographs(self.findings, group.folder)
        if not files and tags:
            inside = self.findings.passed_over - before
            other = f"; it contains {', '.join(f'{kind} {n}' for kind, n in sorted(inside.items()))}" if inside else ""
            problem = f"{group.folder}: contains no photograph ({', '.join(PHOTOGRAPHS)}){other}"
            self.findings.problems.append(problem)
        self.listed[group.list_folder] += len(files)
        self.untagged[group.name] += 0 if tags else len(files)
        lists = tuple(filter(None, [self.list_name or list_of(group.list_folder)]))
        for path in files:
            whole = path.relative_to(self.findings.root)
            image_id = (whole if self.keep_suffix else whole.with_suffix("")).as_posix()
            if (first := self.first.setdefault(image_id, path)) != path:
                other = f"{first.name} and {path.name} would both be {image_id!r}"
                self.findings.leave_out(image_id, path, f"{other}; remove one, or --keep-suffix keeps both")
            else:
                self.candidates.append(Candidate(image_id, path, tags, lists))

    def decisions(self) -> list[str]:
        """What names of folders were taken for."""
        listed = {name: n for name, n in sorted(self.listed.items()) if name}
        said = []
        if not self.list_name and any(name != list_of(name) for name in listed):
            lists = ", ".join(f"{name} → {list_of(name)} ({n})" for name, n in listed.items())
            said.append(f"lists by the names of folders: {lists}")
        return said + [f"{name}/: {n} photographs without a tag" for name, n in self.untagged.items() if n]
