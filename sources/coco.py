"""COCO instances: tags from the categories of an image's annotations, true masks drawn from polygons and RLE.

    INSTANCES.json    images (id, file_name, width, height), annotations (image_id, category_id, segmentation, iscrowd),
                      categories (id, name)
    --images DIR      the photographs, by file_name

In a true mask, smaller objects are drawn over larger ones; a crowd region is void where no single object is.
Masks go to data/raw/coco/<digest of the JSON>/; photographs are not copied. The image id is the file_name
without its suffix.
Source: the COCO data format, https://cocodataset.org/#format-data; pycocotools draws.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from labelfactory.dataset.images import encode_mask
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_TABLE, RAW, FileRefusedError, read_file
from labelfactory.names import file_name
from labelfactory.schema import MAX_CLASSES, VOID, Mask
from sources._batch import Batch, Candidate
from sources._findings import Findings

LONGEST_OUTLINE = 5_000_000
"""Pixels along the sides of a polygon; pycocotools needs memory for each of them."""


def find_coco(path: Path, images: Path, *, list_name: str = "") -> Batch:
    """Find the photographs of an instances file; none is opened.

    Args:
        path: the JSON.
        images: the folder of the photographs.
        list_name: put all photographs on this list.

    Raises:
        DataError: the file is not readable, not of this form, or has too many categories.
    """
    findings = Findings(path)
    loaded = _read(path)
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", "Name the folder of the photographs with --images.")
    named = _records(findings, loaded, "categories", id=int, name=str)
    _report_shared_ids(findings, "categories", named, "name")
    categories = {record["id"]: record["name"] for _, record in named}
    names = tuple(dict.fromkeys(categories[k] for k in sorted(categories)))
    if len(names) > MAX_CLASSES:
        raise DataError(
            f"{path}: {len(names)} categories; a mask can have at most {MAX_CLASSES}",
            "Remove categories from the file.",
        )
    numbers = {k: names.index(name) + 1 for k, name in categories.items()}
    records = _records(findings, loaded, "images", id=int, file_name=str)
    _report_shared_ids(findings, "images", records, "file_name")
    of_image: dict[int, list[Mapping[str, Any]]] = {record["id"]: [] for _, record in records}
    for number, annotation in _records(findings, loaded, "annotations", image_id=int, category_id=int):
        where = f"{path.name}, annotations[{number}]"
        if annotation["image_id"] not in of_image:
            findings.leave_out(f"annotation {number}", where, "an annotation without its image", what="mask")
        elif annotation["category_id"] not in numbers:
            reason = f"category {annotation['category_id']} is not a class"
            findings.leave_out(f"annotation {number}", where, reason, what="mask")
        else:
            of_image[annotation["image_id"]].append(annotation)
    folder = RAW / "coco" / digest_file(path)[:16]
    candidates = [
        candidate
        for number, record in records
        if (
            candidate := _candidate(
                findings, number, record, of_image[record["id"]], numbers, categories, images, folder
            )
        )
    ]
    return Batch(
        root=path,
        command=f"import coco {path} --images {images}",
        names=names,
        candidates=tuple(c if not list_name else Candidate(**{**vars(c), "lists": (list_name,)}) for c in candidates),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        mask_values=dict(enumerate(names, 1)),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
    except FileRefusedError as error:
        raise DataError(error.problem, "Name the JSON file of the annotations.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {str(error)[:120]}", "Name the JSON file of the annotations.") from None
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(k), list) for k in ("images", "categories")):
        raise DataError(f"{path}: contains no images and categories", "Name a file of COCO instances.")
    return loaded


Records = list[tuple[int, dict[str, Any]]]
"""Objects of a list with their numbers in it, from 0."""


def _records(findings: Findings, loaded: Mapping[str, Any], key: str, **fields: type) -> Records:
    """The objects of a list that have these fields; the others are noted. `true` is not a number."""
    records = []
    listed = loaded.get(key) or []
    for number, record in enumerate(listed if isinstance(listed, list) else []):
        wrong = [n for n, kind in fields.items() if not isinstance(record, dict) or type(record.get(n)) is not kind]
        if wrong:
            findings.leave_out(
                f"{key}[{number}]", f"{findings.root.name}, {key}[{number}]", f"has no {' and no '.join(wrong)}"
            )
        else:
            records.append((number, record))
    return records


def shared_ids(key: str, records: Records, name: str) -> Iterator[tuple[int, str]]:
    """Objects that have the id of an earlier one but another name, as in files that were merged.

    Yields:
        The number of the object in its list, and the problem.
    """
    first: dict[Any, tuple[int, Any]] = {}
    for number, record in records:
        earlier, its_name = first.setdefault(record["id"], (number, record[name]))
        if its_name != record[name]:
            yield (
                number,
                f"{record[name]!r} has the same id ({record['id']}) as {its_name!r} in {key}[{earlier}]; "
                "each needs an id of its own",
            )


def _report_shared_ids(findings: Findings, key: str, records: Records, name: str) -> None:
    """An id of two objects stops the import: an annotation could belong to either."""
    for number, problem in shared_ids(key, records, name):
        findings.add(f"{findings.root.name}, {key}[{number}]", problem)


def _candidate(
    findings: Findings,
    number: int,
    record: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    numbers: Mapping[int, int],
    categories: Mapping[int, str],
    images: Path,
    folder: Path,
) -> Candidate | None:
    where, name = f"{findings.root.name}, images[{number}]", record["file_name"]
    image_id = PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else name
    path = images / name
    if "\0" in name or not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(images)):  # noqa: PTH100
        findings.leave_out(image_id, where, f"{name!r} is outside of {images}")
        return None
    single = [a for a in annotations if not a.get("iscrowd")]
    size = record.get("height"), record.get("width")
    drawn: Callable[[], bytes] | None = None
    if all(type(side) is int and side > 0 for side in size):

        def drawn() -> bytes:
            return encode_mask(draw(annotations, numbers, *size))  # type: ignore[arg-type]

    elif size != (None, None):
        stated = f"{str(size[1])[:20]}×{str(size[0])[:20]}"
        findings.leave_out(image_id, where, f"its size is {stated}, not two numbers of pixels", what="mask")
    return Candidate(
        image_id=image_id,
        path=path,
        tags=tuple(sorted({categories[a["category_id"]] for a in single})),
        where=where,
        mask=folder / f"{file_name(image_id)}.png" if drawn else None,
        mask_bytes=drawn,
        mask_size=size if drawn else None,  # type: ignore[arg-type]
        within=images,
    )


def draw(annotations: Sequence[Mapping[str, Any]], numbers: Mapping[int, int], height: int, width: int) -> Mask:
    """Draw the annotations of one image, one at a time: their number does not change the memory needed.

    Args:
        annotations: COCO annotations with category_id and segmentation.
        numbers: category → value in the mask.
        height: pixels.
        width: pixels.

    Returns:
        [height, width] uint8; 0 is the background, 255 in crowds.

    Raises:
        DataError: a segmentation cannot be drawn.
    """
    none = height * width + 1
    drawn = np.zeros((height, width), dtype=np.uint8, order="F")  # by columns, as COCO's regions are
    areas = np.full((height, width), none, dtype=np.int32, order="F")  # of the object at each pixel
    for annotation in annotations:
        region = _region(annotation.get("segmentation"), height, width)
        if annotation.get("iscrowd"):
            np.copyto(drawn, VOID, where=region & (areas == none))
            continue
        area = np.count_nonzero(region)
        region &= areas >= area  # of two of the same size, the later one
        np.copyto(drawn, numbers[annotation["category_id"]], where=region)
        np.copyto(areas, area, where=region)
    return np.ascontiguousarray(drawn)


def _region(segmentation: Any, height: int, width: int) -> np.ndarray:
    """A segmentation as [height, width] bool."""
    try:
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise ValueError(f"its size is {segmentation['size']}, the image's {[height, width]}")
            return _fill(_runs(segmentation["counts"]), height, width)
        polygons = [[float(x) for x in polygon] for polygon in segmentation]
        if any(len(p) < 6 or len(p) % 2 or not np.isfinite(p).all() or np.abs(p).max() > 1e6 for p in polygons):
            raise ValueError("a polygon needs three corners or more")
        if any(_outline(p) > LONGEST_OUTLINE for p in polygons):
            raise ValueError(f"the outline of a polygon is longer than {LONGEST_OUTLINE / 1e6:g} million pixels")
        region = np.zeros((height, width), dtype=bool, order="F")
        for polygon in polygons:
            region |= coco_mask.decode(coco_mask.frPyObjects([polygon], height, width))[:, :, 0].astype(bool)
        return region
    except Exception as error:  # pycocotools raises several kinds of errors
        raise DataError(f"a segmentation cannot be drawn: {error}") from None


def _outline(polygon: Sequence[float]) -> float:
    """The pixels along the sides of a polygon of x, y, x, y, …"""
    corners = np.asarray(polygon).reshape(-1, 2)
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _fill(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """Alternating runs of 0 and 1, down the columns, as [height, width] bool.

    Not done by pycocotools, which writes beyond its memory if the runs do not fit the image.

    Raises:
        ValueError: a run is not a length, or the runs do not fill the image.
    """
    if any(type(run) is not int or run < 0 for run in runs) or sum(runs) != height * width:
        raise ValueError("its runs do not fill the image")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, np.asarray(runs, dtype=np.int64))
    return np.asarray(flat.reshape(width, height).T)


def _runs(counts: Any) -> list[int]:
    """Run lengths, from a list or from COCO's string: 5 bits per character, differences to the run before the last.

    Raises:
        ValueError: the string is incomplete or has other characters.
    """
    if isinstance(counts, list):
        return counts
    text = counts if isinstance(counts, str) else bytes(counts).decode("ascii")
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is not a character of a run")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its last run is incomplete")
    return runs
