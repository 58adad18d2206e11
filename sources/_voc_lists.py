"""Lists of a VOC folder: image ids, names of files, or two columns of photograph and mask as psa, SEAM and DeepLab have them."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from labelfactory.errors import did_you_mean
from labelfactory.foreign_files import PHOTOGRAPHS
from sources._findings import Findings
from sources._voc_tags import Listed, without_suffix

LIST_FOLDERS = ("ImageSets", "ImageSets/Segmentation", "ImageSets/Main")
PHOTOGRAPH_FOLDER = "JPEGImages"
WANTED = "a row is one image id, such as 2007_000032, or /JPEGImages/2007_000032.jpg and its mask"


def read_lists(
    findings: Findings, names: Sequence[str], wanted: Sequence[str] | None, photographs: Collection[str]
) -> tuple[Listed, Counter[str]]:
    """Read the lists of a folder.

    Args:
        findings: collects the problems; its root is the folder.
        names: of all classes.
        wanted: names of the lists to read; None for all.
        photographs: the image ids that exist.

    Returns:
        The images on the lists, and the folders of masks that their rows name, with the number of rows.
    """
    files: dict[str, Path] = {}
    for folder in LIST_FOLDERS:
        here = {path.stem: path for path in sorted((findings.root / folder).glob("*.txt"))}
        if folder == "ImageSets/Main":  # <class>_<list>.txt beside the lists name the images of one class
            per_class = {f"{class_name}_{name}" for class_name in names for name in here}
            here = {name: path for name, path in here.items() if name not in per_class}
        if wanted is not None or not files:
            files = {**here, **files}
    if not files:
        findings.add("ImageSets", "contains no list (<list>.txt)")
    listed: Listed = {}
    folders: Counter[str] = Counter()
    for name in files if wanted is None else wanted:
        if name in files:
            folders += _read_list(findings, name, files[name], listed, photographs)
        elif files:
            findings.add("--lists", f"there is no list {name!r}{did_you_mean(name, files)}")
    return listed, folders


def _read_list(findings: Findings, name: str, path: Path, listed: Listed, photographs: Collection[str]) -> Counter[str]:
    rows_of: dict[str, int] = {}
    folders: Counter[str] = Counter()
    files = 0
    rows = [(row, text.strip()) for row, text in enumerate(findings.read(path), 1) if text.strip()]
    if not rows:
        findings.add(path, "the list is empty")
    for row, text in rows:
        image_id, mask_folder = named_image(text, photographs)
        if not image_id:
            findings.leave_out(f"{name}:{row}", path, f"{text!r} is {mask_folder}; {WANTED}", row)
        elif image_id in rows_of:
            findings.leave_out(f"{name}:{row}", path, f"{image_id!r} appears in row {rows_of[image_id]} too", row)
        else:
            rows_of[image_id] = row
            listed.setdefault(image_id, (set(), path, row))[0].add(name)
            files += image_id != text
            folders[mask_folder] += bool(mask_folder)
    if files:
        findings.decisions.append(f"{path.name}: {files} rows name files; the image id is the name without suffix")
    return folders


def named_image(text: str, photographs: Collection[str]) -> tuple[str, str]:
    """The image id in a row of a list, and the folder of its mask if the row names one; or "" and what the row is instead.

    >>> named_image("/JPEGImages/a.jpg /SegmentationClassAug/a.png", ["a"])
    ('a', 'SegmentationClassAug')
    >>> named_image("a.jpg", ["a"]), named_image("b.c", []), named_image("a  -1", ["a"])
    (('a', ''), ('b.c', ''), ('', 'a row for one class'))
    """
    if text in photographs:
        return text, ""
    whole = PurePosixPath(text.replace("\\", "/"))
    if len(whole.parts) == 1 and without_suffix(whole.name) in photographs:
        return without_suffix(whole.name), ""
    words = text.replace("\\", "/").split()
    first, second = PurePosixPath(words[0]), PurePosixPath(words[-1])
    if len(words) == 2 and words[1] in ("1", "0", "-1"):
        return "", "a row for one class"
    if "/" in words[0] or first.name in ("", "..") or "\0" in text:
        if first.parent.name != PHOTOGRAPH_FOLDER or first.suffix.lower() not in PHOTOGRAPHS or len(words) > 2:
            return "", "a path, not an image id"
        folder = second.parent.name if len(words) == 2 else ""
        return without_suffix(first.name), "" if folder == ".." else folder
    if len(words) == 2 and first.suffix.lower() in PHOTOGRAPHS and second.suffix.lower() == ".png":
        return without_suffix(first.name), ""
    return (without_suffix(whole.name), "") if len(whole.parts) == 1 else ("", "a path, not an image id")
