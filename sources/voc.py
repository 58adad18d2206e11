"""Any folder in VOC layout: photographs, lists, tags from a tag file or from annotations, true masks if there are any.

    JPEGImages/<image_id>.jpg             the photographs (also .jpeg, .png, .webp, .tif, .tiff, .bmp)
    ImageSets/<list>.txt                  one image id a row; else ImageSets/Segmentation/, else ImageSets/Main/
    SegmentationClass/<image_id>.png      true masks, if any
    tags.csv                              rows of image_id,tag|tag (also `tag;tag`, `tag tag`), with or without a header
    Annotations/<image_id>.xml            read when there is no tag file: each object's name is a tag
                                          (true masks give tags too, but only when that is asked for)
    classes.txt                           row number - 1 is the class's number in the masks; else VOC's own 20 classes

Photographs and masks stay where they are. A name from a list is only ever looked up in the listing of these folders.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from labelfactory.errors import DataError, did_you_mean
from sources._batch import PHOTOGRAPHS, Batch, Candidate
from sources._findings import Findings
from sources._voc_tags import Listed, listing, read_tags, read_tags_from_masks

# fmt: off
VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
LIST_FOLDERS = ("ImageSets", "ImageSets/Segmentation", "ImageSets/Main")
MASKS = (".png",)
OWN_NAMES = "where VOC's own 20 are not meant, write classes.txt into the folder: background, then a class in each row"


def find_voc(
    root: Path, *, tags_file: Path | None = None, lists: Sequence[str] | None = None, tags_from_masks: bool = False
) -> Batch:
    """Find what a folder in VOC layout holds; no photograph is opened.

    Args:
        root: the folder.
        tags_file: the tag file, if it is not `root`/tags.csv.
        lists: names of the lists to import; None for all.
        tags_from_masks: take the tags from the true masks. Without it no mask is opened here.

    Returns:
        The photographs on the lists, by image id. Classes that are not chosen become void in the true masks.

    Raises:
        DataError: there is no such folder.
    """
    found = Findings(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that holds JPEGImages/ and ImageSets/.")
    names = _class_names(found)
    lists_of = _read_lists(found, names, lists)
    if not lists_of and not found.problems:
        found.add("--lists", "no image stands on a list that is to be imported")
    photographs, masks = listing(found, "JPEGImages", PHOTOGRAPHS), listing(found, "SegmentationClass", MASKS)
    _check_photographs(found, lists_of, photographs)
    for image_id in sorted(masks.keys() - photographs.keys() - lists_of.keys()):
        found.leave_out(image_id, masks[image_id][0], "a mask without its photograph", what="mask")
    from_masks = read_tags_from_masks(found, names, lists_of, masks) if tags_from_masks else None
    tags = read_tags(found, tags_file, names, lists_of) if from_masks is None else from_masks
    bad = {item.image_id for item in found.left_out if item.what == "photograph"}
    complete = [i for i in sorted(lists_of) if i in photographs and i in tags and i not in bad]
    words = ["import voc", str(root), *([f"--lists {','.join(lists)}"] if lists else [])]
    return Batch(
        root=root,
        command=" ".join(words),
        names=names[1:],
        names_note="" if (root / "classes.txt").exists() else OWN_NAMES,
        candidates=tuple(
            Candidate(
                image_id=i,
                path=photographs[i][0],
                tags=tuple(tags[i]),
                lists=tuple(sorted(lists_of[i][0])),
                where=found.place(*lists_of[i][1:]),
                mask=masks[i][0] if i in masks else None,
            )
            for i in complete
        ),
        left_out=tuple(found.left_out),
        problems=tuple(found.problems),
        mask_values=dict(enumerate(names[1:], 1)),
    )


def _check_photographs(found: Findings, lists_of: Listed, photographs: Mapping[str, Sequence[Path]]) -> None:
    if not photographs:
        found.add("JPEGImages", f"holds no photograph ({', '.join(PHOTOGRAPHS)})")
        return
    for image_id, (_, path, row) in lists_of.items():
        if image_id not in photographs:
            found.leave_out(image_id, path, f"JPEGImages/{image_id}.jpg does not exist", row)
        elif len(photographs[image_id]) > 1:
            several = " or ".join(p.name for p in photographs[image_id])
            found.leave_out(image_id, path, f"{image_id!r} could be {several}", row)


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
            found.leave_out(f"{name}:{row}", path, f"{image_id!r} is a path, not an image id", row)
        elif image_id in seen:
            found.leave_out(f"{name}:{row}", path, f"{image_id!r} stands in row {seen[image_id]} too", row)
        else:
            seen[image_id] = row
            listed.setdefault(image_id, (set(), path, row))[0].add(name)
