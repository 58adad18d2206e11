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

from labelfactory.dataset.images import encode_mask
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.foreign_files import LARGEST_TABLE, RAW, FileRefusedError, read_file
from labelfactory.names import file_name
from labelfactory.schema import MAX_CLASSES
from sources._batch import Batch, Candidate
from sources._coco_drawing import draw
from sources._findings import Findings


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
