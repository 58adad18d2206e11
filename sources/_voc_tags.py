"""Tags of a VOC folder: from a tag file, from annotations or from true masks."""

import csv
import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from labelfactory.dataset.images import decode_mask
from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import PHOTOGRAPHS, FileRefusedError, read_file
from labelfactory.schema import BACKGROUND, VOID
from sources._findings import Findings
from sources._npy_labels import read_label_vectors


def without_suffix(name: str) -> str:
    """The name of a file without the suffix of a photograph; other names stay."""
    return name[: -len(suffix)] if (suffix := PurePosixPath(name).suffix).lower() in PHOTOGRAPHS else name


Listed = dict[str, tuple[set[str], Path, int]]
"""Image id → its lists, and the file and row of its first mention."""


def listing(findings: Findings, folder: str, suffixes: Sequence[str]) -> dict[str, list[Path]]:
    """The files of a folder by image id (the name without suffix)."""
    files: dict[str, list[Path]] = {}
    if (findings.root / folder).is_dir():
        for path in sorted((findings.root / folder).iterdir()):
            if path.suffix.lower() in suffixes:
                files.setdefault(path.stem, []).append(path)
    return files


def read_tags(findings: Findings, named: Path | None, names: Sequence[str], listed: Listed) -> dict[str, list[str]]:
    """Read the tags of every listed image from the tag file, else from the annotations.

    Args:
        findings: collects the problems; its root is the folder.
        named: the tag file, if it is not tags.csv in the folder.
        names: all names of the folder, the background first.
        listed: the images wanted.

    Returns:
        Image id → its tags, each of them one of `names`. An image without a row or an annotation is noted and left out.
    """
    path = named or findings.root / "tags.csv"
    if named is not None or path.exists():
        known = len(findings.problems)
        read = _tags_from_vectors if path.suffix.lower() == ".npy" else _tags_from_file
        tags = read(findings, path, names, listed)
        if len(findings.problems) > known:  # of the whole file: missing rows are not reported too
            return {image_id: tags.get(image_id, []) for image_id in listed}
        for image_id in listed:
            if image_id not in tags:
                reason = f"no row for {image_id!r} (a photograph without objects needs a row without tags)"
                findings.leave_out(image_id, path, reason)
        return tags
    if (findings.root / "Annotations").is_dir():
        return _tags_from_annotations(findings, names, listed)
    vectors = next((path for path in sorted(findings.root.rglob("cls_labels*.npy"))), None)
    also = f", such as --tags {shlex.quote(str(vectors))}" if vectors else ""
    findings.add("tags.csv", f"there is neither a tag file nor Annotations/; name one with --tags{also}")
    return {}


def _tags_from_vectors(findings: Findings, path: Path, names: Sequence[str], listed: Listed) -> dict[str, list[str]]:
    """Tags from the vectors of psa's cls_labels.npy; IRN's names are the digits of the image id."""
    try:
        vectors = read_label_vectors(path)
    except FileRefusedError as error:
        findings.add(path, f"not readable: {error.reason}")
        return {}
    except DataError as error:
        findings.add(path, error.problem)
        return {}
    classes = names[1:]
    other = next((vector for vector in vectors.values() if len(vector) != len(classes)), None)
    if other is not None:
        reason = f"a vector has {len(other)} numbers, the folder {len(classes)} classes"
        findings.add(path, f"{reason}; classes.txt in the folder names them: background, then one class per row")
        return {}
    by_digits = {re.sub(r"\D", "", image_id): image_id for image_id in listed}
    tags: dict[str, list[str]] = {}
    for name, vector in vectors.items():
        image_id = name if name in listed else by_digits.get(name) or PurePosixPath(name).stem
        if image_id not in listed:
            continue
        tags[image_id] = [tag for tag, number in zip(classes, vector, strict=True) if number == 1]
        if any(number not in (0, 1) for number in vector):
            findings.leave_out(image_id, path, f"the vector of {name!r} holds other numbers than 0 and 1")
    return tags


def _tags_from_file(findings: Findings, path: Path, names: Sequence[str], listed: Listed) -> dict[str, list[str]]:
    tags: dict[str, list[str]] = {}
    first_row: dict[str, int] = {}
    columns: list[int] | None = None  # of the tags; None: every cell after the first
    rows = _rows(findings, path)
    for row, cells in rows:
        if not first_row and columns is None and cells[0].lower() in ("image_id", "image", "id", "filename"):
            columns = [k for k, cell in enumerate(cells) if cell.lower() in ("tags", "labels", "classes")] or [-1]
            continue
        image_id = cells[0] if cells[0] in listed else without_suffix(cells[0])
        if image_id in first_row:
            findings.leave_out(f"{image_id}:{row}", path, f"{image_id!r} appears in row {first_row[image_id]} too", row)
        first_row.setdefault(image_id, row)
        if image_id not in listed:
            continue
        if columns is not None and max(columns) >= len(cells):
            findings.leave_out(image_id, path, f"{image_id!r} has {len(cells)} columns, too few for tags", row)
            tags[image_id] = []
            continue
        chosen = cells[1:] if columns is None else [cells[k] for k in columns]
        tags[image_id] = _known(findings, image_id, path, names, [t for c in chosen for t in _split(c, names)], row)
    if not first_row and not findings.problems:
        findings.add(path, "contains no row of tags")
    return tags


def _rows(findings: Findings, path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not blank, with their numbers in the file; cells are separated by commas, else by tabs."""
    lines = findings.read(path)
    reader = csv.reader(lines, delimiter="," if any("," in line for line in lines) else "\t")
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        findings.add(path, str(error), reader.line_num)
    return rows


def _split(cell: str, names: Sequence[str]) -> list[str]:
    """Tags of one cell: the whole cell or its parts at `|` if they are class names, else split at `|` or `;`, else at blanks."""
    for tags in ([cell], [tag.strip() for tag in cell.split("|") if tag.strip()]):
        if all(tag in names for tag in tags):
            return tags
    return (
        [tag.strip() for tag in re.split(r"[|;]", cell) if tag.strip()] if "|" in cell or ";" in cell else cell.split()
    )


def _tags_from_annotations(findings: Findings, names: Sequence[str], listed: Listed) -> dict[str, list[str]]:
    files = listing(findings, "Annotations", (".xml",))
    tags: dict[str, list[str]] = {}
    for image_id, (_, path, row) in listed.items():
        if image_id not in files:
            findings.leave_out(image_id, path, f"Annotations/{image_id}.xml does not exist", row)
            continue
        source = files[image_id][0]
        try:
            tree = ElementTree.fromstring(read_file(source))
        except FileRefusedError as error:
            findings.leave_out(image_id, source, f"not readable as XML: {error.reason}")
            continue
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            findings.leave_out(image_id, source, f"not readable as XML: {error}")
            continue
        object_names = [(node.findtext("name") or "").strip() for node in tree.iter("object")]
        tags[image_id] = _known(findings, image_id, source, names, object_names, None)
    return tags


def read_tags_from_masks(
    findings: Findings, names: Sequence[str], listed: Listed, masks: Mapping[str, Sequence[Path]]
) -> dict[str, list[str]]:
    """Tags from the classes in each true mask. An image without a mask, or with a bad one, is noted and left out."""
    tags: dict[str, list[str]] = {}
    held: set[int] = set()
    for image_id, (_, path, row) in listed.items():
        if image_id not in masks:
            findings.leave_out(image_id, path, f"SegmentationClass/{image_id}.png does not exist", row)
            continue
        mask = masks[image_id][0]
        try:
            values = np.unique(decode_mask(read_file(mask)))
        except FileRefusedError as error:
            findings.leave_out(image_id, mask, f"not readable: {error.reason}")
            continue
        except DataError as error:
            findings.leave_out(image_id, mask, error.problem)
            continue
        held.update(int(v) for v in values)
        unknown = [int(v) for v in values if v >= len(names) and v != VOID]
        if unknown:
            findings.leave_out(image_id, mask, f"the mask contains {unknown[0]}, which is not a class")
            continue
        tags[image_id] = [names[int(v)] for v in values if v not in (BACKGROUND, VOID)]
    if tags and not any(tags.values()):
        numbers = ", ".join(f"{number} {name}" for number, name in list(enumerate(names))[1:4])
        findings.add(
            "SegmentationClass",
            f"no mask shows a class: they hold {', '.join(map(str, sorted(held)))}, and {VOID} is void; write {numbers}",
        )
    return tags


def _known(
    findings: Findings, image_id: str, path: Path, names: Sequence[str], tags: Iterable[str], row: int | None
) -> list[str]:
    known = []
    for tag in dict.fromkeys(tags):
        if tag in names[1:]:
            known.append(tag)
        else:
            findings.leave_out(image_id, path, f"tag {tag!r} is not a class{did_you_mean(tag, names[1:])}", row)
    return known
