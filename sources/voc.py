"""Any folder in VOC layout: photographs, lists, tags from a tag file or from annotations, true masks if there are any.

    JPEGImages/<image_id>.jpg             the photographs (also .jpeg, .png)
    ImageSets/<list>.txt                  one image id a row; else ImageSets/Segmentation/, else ImageSets/Main/
    SegmentationClass/<image_id>.png      true masks, if any
    tags.csv                              rows of image_id,tag|tag (also `tag;tag`, `tag tag`), with or without a header
    Annotations/<image_id>.xml            read when there is no tag file: each object's name is a tag
    classes.txt                           row number - 1 is the class's number in the masks; else VOC's own 20 classes

Photographs and masks stay where they are. A name from a list is only ever looked up in the listing of these folders.
"""

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labelfactory.digests import digest_file
from labelfactory.errors import DataError, did_you_mean
from labelfactory.manifest import Entry, Manifest
from labelfactory.schema import BACKGROUND, Classes
from sources._findings import Findings
from sources._voc_tags import Listed, listing, read_tags

# fmt: off
VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
LIST_FOLDERS = ("ImageSets", "ImageSets/Segmentation", "ImageSets/Main")
PHOTOGRAPHS, MASKS = (".jpg", ".jpeg", ".png"), (".png",)


def read_voc(
    root: Path, *, classes: Sequence[str] = (), tags_file: Path | None = None, lists: Sequence[str] | None = None
) -> Manifest:
    """Read a folder in VOC layout; every photograph on a list is hashed, none is decoded.

    Args:
        root: the folder.
        classes: foreground classes, in the order wanted; empty for all. Other classes become void in the true masks
            and their tags are dropped.
        tags_file: the tag file, if it is not `root`/tags.csv.
        lists: names of the lists to import; None for all.

    Returns:
        A manifest of the photographs on the lists, by image id, without positions.

    Raises:
        DataError: lists everything that is wrong, with file and row.
    """
    found = Findings(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that holds JPEGImages/ and ImageSets/.")
    names = _class_names(found)
    chosen = tuple(classes) or names[1:]
    _check_chosen(found, chosen, names)
    lists_of = _read_lists(found, names, lists)
    if not lists_of and not found.lines:
        found.add("--lists", "no image stands on a list that is to be imported")
    photographs, masks = listing(found, "JPEGImages", PHOTOGRAPHS), listing(found, "SegmentationClass", MASKS)
    _check_photographs(found, lists_of, photographs)
    tags = read_tags(found, tags_file, names, lists_of)
    tagged = {tag for of_image in tags.values() for tag in of_image}
    for name in sorted(set(chosen) & set(names[1:]) - tagged) if tagged or not found.lines else ():
        found.add("--classes", f"no photograph on a list is tagged {name!r}")
    used = [path for i in lists_of for path in (*photographs.get(i, ())[:1], *masks.get(i, ())[:1])]
    digests = _digests(found, used)
    found.raise_if_any()

    def entry(image_id: str) -> Entry:
        photograph = photographs[image_id][0]
        mask = masks[image_id][0] if image_id in masks else None
        return Entry(
            image_id=image_id,
            path=_stored(photograph),
            sha256=digests[photograph],
            lists=tuple(sorted(lists_of[image_id][0])),
            tags=tuple(sorted(set(tags[image_id]) & set(chosen))),
            mask_path=_stored(mask) if mask else None,
            mask_sha256=digests[mask] if mask else None,
        )

    mask_ids = {BACKGROUND: BACKGROUND, **{names.index(name): k for k, name in enumerate(chosen, 1)}}
    source = f"import voc {root} --classes {','.join(chosen)}" + (f" --lists {','.join(lists)}" if lists else "")
    return Manifest(Classes(chosen), mask_ids, source, tuple(entry(i) for i in sorted(lists_of)))


def _check_chosen(found: Findings, chosen: Sequence[str], names: Sequence[str]) -> None:
    for name in dict.fromkeys(chosen):
        if name not in names[1:]:
            found.add("--classes", f"{name!r} is no class of this folder{did_you_mean(name, names[1:])}")
        elif chosen.count(name) > 1:
            found.add("--classes", f"{name!r} is named {chosen.count(name)} times")


def _check_photographs(found: Findings, lists_of: Listed, photographs: Mapping[str, Sequence[Path]]) -> None:
    if not photographs:
        found.add("JPEGImages", "holds no photograph (.jpg, .jpeg, .png)")
        return
    for image_id, (_, path, row) in lists_of.items():
        if image_id not in photographs:
            found.add(path, f"JPEGImages/{image_id}.jpg does not exist", row)
        elif len(photographs[image_id]) > 1:
            found.add(path, f"{image_id!r} could be {' or '.join(p.name for p in photographs[image_id])}", row)


def _class_names(found: Findings) -> tuple[str, ...]:
    """All names of the folder by their number in the masks; the first is the background."""
    path = found.root / "classes.txt"
    if not path.exists():
        return VOC_NAMES
    rows = [row.strip() for row in found.read(path)]
    while rows and not rows[-1]:
        rows.pop()
    if rows and "background" not in rows[0].lower():
        found.add(path, f"{rows[0]!r} stands where the background belongs", 1)
    for row, name in enumerate(rows, 1):
        if not name:
            found.add(path, "is empty", row)
        elif name in rows[: row - 1]:
            found.add(path, f"{name!r} stands in row {rows.index(name) + 1} too", row)
    if len(rows) < 2:
        found.add(path, "names no class")
    return tuple(rows) or VOC_NAMES


def _read_lists(found: Findings, names: Sequence[str], wanted: Sequence[str] | None) -> Listed:
    files: dict[str, Path] = {}
    for folder in LIST_FOLDERS:
        here = {path.stem: path for path in sorted((found.root / folder).glob("*.txt"))}
        if folder == "ImageSets/Main":  # holds <class>_<list>.txt too, which say what is where, not which images
            per_class = {f"{class_name}_{name}" for class_name in names for name in here}
            here = {name: path for name, path in here.items() if name not in per_class}
        if wanted is not None or not files:
            files = {**here, **files}
    if not files:
        found.add("ImageSets", "holds no list (<list>.txt)")
    listed: Listed = {}
    for name in files if wanted is None else wanted:
        if name in files:
            _read_list(found, name, files[name], listed)
        elif files:
            found.add("--lists", f"there is no list {name!r}{did_you_mean(name, files)}")
    return listed


def _read_list(found: Findings, name: str, path: Path, listed: Listed) -> None:
    seen: dict[str, int] = {}
    rows = [(row, text.strip()) for row, text in enumerate(found.read(path), 1) if text.strip()]
    if not rows:
        found.add(path, "the list is empty")
    for row, image_id in rows:
        if re.search(r"[/\\\0]", image_id) or image_id in (".", ".."):
            found.add(path, f"{image_id!r} is a path, not an image id", row)
        elif image_id in seen:
            found.add(path, f"{image_id!r} stands in row {seen[image_id]} too", row)
        else:
            seen[image_id] = row
            listed.setdefault(image_id, (set(), path, row))[0].add(name)


def _digests(found: Findings, paths: Sequence[Path]) -> Mapping[Path, str]:
    """SHA-256 of each file, on all cores."""

    def digest(path: Path) -> str | OSError:
        try:
            return digest_file(path)
        except OSError as error:
            return error

    digests: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        for path, result in zip(paths, pool.map(digest, paths), strict=True):
            if isinstance(result, str):
                digests[path] = result
            else:
                found.add(path, f"not readable: {result.strerror}")
    return digests


def _stored(path: Path) -> str:
    """The path as the manifest keeps it: from the current folder when inside it, absolute elsewhere."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a link out of the project
    return (full.relative_to(Path.cwd()) if full.is_relative_to(Path.cwd()) else full).as_posix()
