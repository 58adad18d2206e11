"""Any folder in VOC layout: photographs, lists, tags from a tag file or from annotations, true masks if there are any.

    JPEGImages/<image_id>.jpg             the photographs (also .jpeg, .png, .webp, .tif, .tiff, .bmp, .ppm)
    ImageSets/<list>.txt                  one image id a row (also with .jpg, or /JPEGImages/<image_id>.jpg and its mask);
                                          else ImageSets/Segmentation/, else ImageSets/Main/
    SegmentationClass/<image_id>.png      true masks, if any; also SegmentationClassAug/ and the folder that lists name
    tags.csv                              rows of image_id,tag|tag (also `tag;tag`, `tag tag`), with or without a header;
                                          --tags also takes psa's cls_labels.npy
    Annotations/<image_id>.xml            read if there is no tag file: each object's name is a tag
                                          (true masks give tags too, only with tags_from_masks)
    classes.txt                           row number - 1 is the class's number in the masks; else VOC's own 20 classes

Photographs and masks are not copied. A name from a list is only looked up in the listings of these folders.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from labelfactory.dataset.left_out import MASK, PHOTOGRAPH
from labelfactory.errors import DataError
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._batch import Batch, Candidate
from sources._findings import Findings
from sources._voc_lists import PHOTOGRAPH_FOLDER, read_lists
from sources._voc_tags import Listed, listing, read_tags, read_tags_from_masks

# fmt: off
VOC_NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
MASK_FOLDERS = ("SegmentationClass", "SegmentationClassAug", "SegmentationClassRaw")
MASKS = (".png",)
OWN_NAMES = "for other classes than VOC's own 20, write classes.txt into the folder: background, then one class per row"


def find_voc(
    root: Path, *, tags_file: Path | None = None, lists: Sequence[str] | None = None, tags_from_masks: bool = False
) -> Batch:
    """Find the photographs of a folder in VOC layout; none is opened.

    Args:
        root: the folder.
        tags_file: the tag file, if not `root`/tags.csv.
        lists: names of the lists to import; None for all.
        tags_from_masks: take the tags from the true masks; otherwise no mask is opened here.

    Returns:
        The photographs on the lists, by image id. Classes that are not chosen become void in the true masks.

    Raises:
        DataError: there is no such folder.
    """
    findings = Findings(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder", "Name a folder that contains JPEGImages/ and ImageSets/.")
    names = _class_names(findings)
    photographs = listing(findings, PHOTOGRAPH_FOLDER, PHOTOGRAPHS)
    if not photographs:
        _refuse_other_layout(root)
    lists_of, mask_folders = read_lists(findings, names, lists, photographs)
    if not lists_of and not findings.problems:
        findings.add("--lists", "the lists to import contain no image")
    masks = _true_masks(findings, mask_folders, lists_of)
    _check_photographs(findings, lists_of, photographs)
    for image_id in sorted(masks.keys() - photographs.keys() - lists_of.keys()):
        findings.leave_out(image_id, masks[image_id][0], "a mask without its photograph", what=MASK)
    from_masks = read_tags_from_masks(findings, names, lists_of, masks) if tags_from_masks else None
    tags = read_tags(findings, tags_file, names, lists_of) if from_masks is None else from_masks
    bad = {item.image_id for item in findings.left_out if item.what == PHOTOGRAPH}
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
                where=findings.location(*lists_of[i][1:]),
                mask=masks[i][0] if i in masks else None,
            )
            for i in complete
        ),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        mask_values=dict(enumerate(names[1:], 1)),
        decisions=tuple(findings.decisions),
        passed_over=findings.passed_over,
    )


def _true_masks(findings: Findings, named: Mapping[str, int], listed: Listed) -> dict[str, list[Path]]:
    """The true masks by image id: of the folder that the lists name, else of VOC's, else of those of other projects."""
    masks: dict[str, list[Path]] = {}
    counts: dict[str, int] = {}
    for folder in dict.fromkeys([*sorted(named, key=lambda name: -named[name]), *MASK_FOLDERS]):
        here = listing(findings, folder, MASKS)
        counts[folder] = len((here.keys() & listed.keys()) - masks.keys())
        masks = here | masks
    used = {folder: count for folder, count in counts.items() if count}
    if used and [*used] != [MASK_FOLDERS[0]]:
        findings.decisions.append(f"true masks from {', '.join(f'{name} ({count})' for name, count in used.items())}")
    return masks


def _refuse_other_layout(root: Path) -> None:
    """Say where the photographs are, if not in JPEGImages.

    Raises:
        DataError: the folder is around one in VOC layout, or has photographs and annotations in one folder.
    """
    around = next(
        (path.parent for depth in ("*", "*/*") for path in sorted(root.glob(f"{depth}/{PHOTOGRAPH_FOLDER}"))), None
    )
    if around:
        raise DataError(
            f"{root}: contains no {PHOTOGRAPH_FOLDER}/, but {around} does", f"Type `labelfactory import voc {around}`."
        )
    flat = next((path.parent for depth in ("*", "*/*") for path in sorted(root.glob(f"{depth}.xml"))), None)
    if flat and any(path.suffix.lower() in PHOTOGRAPHS for path in flat.iterdir()):
        raise DataError(
            f"{flat}: has photographs and .xml in one folder, as LabelImg and Roboflow write them, not in VOC's folders",
            f"Move the photographs to {root}/{PHOTOGRAPH_FOLDER}/ and the .xml to {root}/Annotations/, and write their names "
            f"without suffix, one a row, to {root}/ImageSets/train.txt and val.txt.",
        )


def _check_photographs(findings: Findings, lists_of: Listed, photographs: Mapping[str, Sequence[Path]]) -> None:
    if not photographs:
        findings.add("JPEGImages", f"contains no photograph ({', '.join(PHOTOGRAPHS)})")
        return
    for image_id, (_, path, row) in lists_of.items():
        if image_id not in photographs:
            findings.leave_out(image_id, path, f"JPEGImages/{image_id}.jpg does not exist", row)
        elif len(photographs[image_id]) > 1:
            several = " or ".join(p.name for p in photographs[image_id])
            findings.leave_out(image_id, path, f"{image_id!r} could be {several}", row)


def _class_names(findings: Findings) -> tuple[str, ...]:
    """All class names by their number in the masks; the first is the background."""
    path = findings.root / "classes.txt"
    if not path.exists():
        return VOC_NAMES
    rows = [row.strip() for row in findings.read(path)]
    while rows and not rows[-1]:
        rows.pop()
    if rows and "background" not in rows[0].lower():
        findings.add(path, f"the first row must be `background`, not {rows[0]!r}", 1)
    for row, name in enumerate(rows, 1):
        if not name:
            findings.add(path, "is empty", row)
        elif name in rows[: row - 1]:
            findings.add(path, f"{name!r} appears in row {rows.index(name) + 1} too", row)
    if len(rows) < 2:
        findings.add(path, "names no class")
    return tuple(rows) or VOC_NAMES
