"""Read a COCO file: its images, its categories and the annotations of each image, as many tools write them."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.errors import DataError, in_short
from labelfactory.foreign_files import LARGEST_TABLE, FileRefusedError, read_file
from sources._coco_objects import OURS, Annotation, Crowds, without_false_crowds
from sources._findings import Findings

BACKGROUNDS = ("background", "_background_", "__background__")
"""Names of a category that is no class: its pixels are background (labelme2coco lists `_background_`)."""
NAMES_OF_FILES = ("file_name", "coco_url", "path", "filename")
"""Fields that name the file of an image, the first that there is; LVIS has `coco_url` alone."""

Records = Sequence[tuple[int, dict[str, Any]]]
"""Objects of a list with their numbers in it, from 0."""


@dataclass(frozen=True)
class CocoImage:
    """One image of the file."""

    number: int  # in its list, from 0
    record: Mapping[str, Any]
    name: str  # of its file
    annotations: tuple[Annotation, ...]  # of categories that are listed
    unknown: tuple[Any, ...] = ()  # ids of categories that are not


@dataclass(frozen=True)
class CocoFile:
    """What a file lists."""

    categories: Mapping[
        Any, str
    ]  # id, as a number and as a text, or the name itself → name, by id; without backgrounds
    backgrounds: Mapping[Any, str]  # those that are no classes
    images: tuple[CocoImage, ...]


def read_coco(findings: Findings, crowds: Crowds = "auto", renamed: Collection[str] = ()) -> CocoFile:
    """Read the file of the findings, which get what is wrong with it and what was decided.

    Args:
        findings: of the JSON.
        crowds: what annotations of `iscrowd: 1` are.
        renamed: categories that are classes even if they are called background.

    Raises:
        DataError: the file is not readable or not of this form.
    """
    loaded = _loaded(findings.root)
    named = list(_records(findings, loaded, "categories", ids=("id",), text=("name",)))
    images = list(_records(findings, loaded, "images", ids=("id",), text=NAMES_OF_FILES))
    for key, records, field in (("categories", named, "name"), ("images", images, "file_name")):
        for number, problem in shared_ids(key, records, field):
            findings.add(f"{findings.root.name}, {key}[{number}]", problem)
    names = {str(key_of(record["id"])): record["name"] for _, record in named}
    by_id = {key: names[key] for key in sorted(names, key=_order)}
    backgrounds = {k: name for k, name in by_id.items() if name.lower() in BACKGROUNDS and name not in renamed}
    of_image: dict[str, list[Annotation]] = {str(key_of(record["id"])): [] for _, record in images}
    strangers = 0
    written = [a for _, a in _records(findings, loaded, "annotations", ids=("image_id", "category_id"))]
    info = loaded.get("info")
    ours = isinstance(info, dict) and info.get("description") == OURS
    named_by_any = {**{name: name for name in by_id.values()}, **_by_any_id(by_id)}
    annotations, decided = without_false_crowds(written, named_by_any, crowds=crowds) if not ours else (written, ())
    findings.decisions += decided
    for annotation in annotations:
        key = str(key_of(annotation["image_id"]))
        if key in of_image:
            of_image[key].append(annotation)
        else:
            strangers += 1
    if strangers:
        findings.decisions.append(f"ignored, as the file does not list their images: {strangers} annotations")
    return CocoFile(
        categories={k: name for k, name in named_by_any.items() if name not in backgrounds.values()},
        backgrounds={k: name for k, name in named_by_any.items() if name in backgrounds.values()},
        images=tuple(_images(findings, images, of_image, {str(key) for key in named_by_any})),
    )


def _images(
    findings: Findings, records: Records, of_image: Mapping[str, list[Annotation]], known: set[str]
) -> Iterator[CocoImage]:
    """Each image once, with its annotations."""
    yielded: set[str] = set()
    for number, record in records:
        key = str(key_of(record["id"]))
        if key in yielded:  # of the same name, or the import stops
            continue
        yielded.add(key)
        annotations = of_image[key]
        unknown = [a["category_id"] for a in annotations if str(key_of(a["category_id"])) not in known]
        yield CocoImage(
            number,
            record,
            record["file_name"],
            tuple(a for a in annotations if str(key_of(a["category_id"])) in known),
            tuple(dict.fromkeys(unknown)),
        )
    if len(yielded) < len(records):
        findings.decisions.append(f"listed more than once, taken once: {len(records) - len(yielded)} images")


def _loaded(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(read_file(path, largest=LARGEST_TABLE))
    except FileRefusedError as error:
        raise DataError(error.problem, "Name the JSON file of the annotations.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {in_short(error, 120)}", "Name the JSON file of the annotations.") from None
    if not isinstance(loaded, dict) or not all(isinstance(loaded.get(k), list) for k in ("images", "categories")):
        raise DataError(f"{path}: contains no images and categories", "Name a file of COCO instances.")
    annotations = loaded.get("annotations")
    if isinstance(annotations, list) and any(isinstance(a, dict) and "segments_info" in a for a in annotations[:1]):
        raise DataError(f"{path}: holds panoptic segments", "Name the file of the instances beside it.")
    return loaded


def _records(
    findings: Findings, loaded: Mapping[str, Any], key: str, *, ids: Sequence[str], text: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a list that have these ids, and one of these texts, which the first name then holds."""
    listed = loaded.get(key)
    for number, record in enumerate(listed if isinstance(listed, list) else []):
        fields = record if isinstance(record, dict) else {}
        missing = [name for name in ids if key_of(fields.get(name)) is None]
        found = next((name for name in text if _is_text(fields.get(name))), None)
        missing += [text[0]] if text and found is None else []
        if missing:
            where = f"{findings.root.name}, {key}[{number}]"
            what = "photograph" if key == "images" else "mask"
            findings.leave_out(f"{key}[{number}]", where, f"has no {' and no '.join(missing)}", what=what)
        else:
            stated = str(fields[found]).strip() if key == "categories" and found else fields.get(found or "")
            yield number, {**fields, text[0]: stated} if text else fields


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def key_of(value: Any) -> str | None:
    """An id as text, so that 7, 7.0 and "7" are one; None for what is no id. `true` is not a number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) or None if type(value) in (int, str) else None


def _order(key: str) -> tuple[bool, int]:
    """By number; ids that are none keep their order, at the end."""
    number = key.removeprefix("-").isdecimal() and key.isascii()
    return (not number, int(key) if number and len(key) < 20 else 0)


def _by_any_id(names: Mapping[str, str]) -> dict[Any, str]:
    """By id as a text, and as a number where it is one: annotations may write either."""
    numbers = {int(key): name for key, name in names.items() if not _order(key)[0] and len(key) < 20}
    return {**names, **numbers}


def shared_ids(key: str, records: Records, name: str) -> Iterator[tuple[int, str]]:
    """Objects that have the id of an earlier one but another name, as in files that were merged.

    Yields:
        The number of the object in its list, and the problem.
    """
    first: dict[Any, tuple[int, Any]] = {}
    for number, record in records:
        earlier, its_name = first.setdefault(key_of(record["id"]), (number, record[name]))
        if its_name != record[name]:
            yield (
                number,
                f"{record[name]!r} has the same id ({record['id']}) as {its_name!r} in {key}[{earlier}]; "
                "each needs an id of its own",
            )
