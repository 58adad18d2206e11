"""COCO instances: tags from the categories of an image's annotations, true masks drawn from polygons and RLE.

    INSTANCES.json    images (id, file_name, width, height), annotations (image_id, category_id, segmentation, iscrowd),
                      categories (id, name)
    --images DIR      the photographs, by file_name

In a true mask, smaller objects are drawn over larger ones; a crowd region is void where no single object is. Without width
and height a mask has the size of its photograph. A photograph with an object that is only a box has no true mask.
Categories without a tag are no classes, nor is one called background.
Masks go to data/raw/coco/<digest of the JSON>/, with a digest of their bytes in their names; photographs are not copied. The image
id is the file_name without its suffix.
Source: the COCO data format, https://cocodataset.org/#format-data; pycocotools draws.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from labelfactory.dataset.left_out import MASK
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.foreign_files import RAW
from labelfactory.names import file_name
from labelfactory.schema import BACKGROUND, MAX_CLASSES
from sources._batch import Batch, Candidate
from sources._coco_decisions import has_masks, in_fractions, shifted_ids, used_names
from sources._coco_file import CocoFile, CocoImage, read_coco
from sources._coco_masks import DrawnMask, stated_size
from sources._coco_objects import Crowds, is_crowd, is_drawn
from sources._findings import Findings
from sources._named_file import NamedFiles


def find_coco(
    path: Path,
    images: Path,
    *,
    list_name: str = "",
    crowds: Crowds = "auto",
    true_masks: bool = True,
    renamed: Collection[str] = (),
) -> Batch:
    """Find the photographs of an instances file; none is opened.

    Args:
        path: the JSON.
        images: the folder of the photographs.
        list_name: put all photographs on this list.
        crowds: what annotations of `iscrowd: 1` are.
        true_masks: whether segmentations become true masks.
        renamed: categories that get another name, which may be called background.

    Raises:
        DataError: the file is not readable, not of this form, or has too many categories.
    """
    findings = Findings(path)
    listed = read_coco(findings, crowds, renamed)
    if not images.is_dir():
        raise DataError(f"{images}: no such folder", "Name the folder of the photographs with --images.")
    names = used_names(findings, listed)
    every = tuple(dict.fromkeys(listed.categories.values()))
    numbered = every if len(every) <= MAX_CLASSES else names  # by all categories: parts of a set agree
    values = {name: k for k, name in enumerate(numbered, 1)}
    numbers = {key: values[name] for key, name in listed.categories.items() if name in values}
    numbers |= dict.fromkeys(listed.backgrounds, BACKGROUND)
    drawn = true_masks and has_masks(findings, listed)
    source = _Source(
        listed,
        images,
        RAW / "coco" / digest_file(path)[:16],
        numbers if drawn else None,
        list_name,
        drawn and in_fractions(findings, listed),
    )
    return Batch(
        root=path,
        command=f"import coco {path} --images {images}",
        names=names,
        candidates=tuple(_candidates(findings, source)),
        left_out=tuple(findings.left_out),
        problems=tuple(findings.problems),
        mask_values={k: name for name, k in values.items()} if drawn else {},
        decisions=tuple(findings.decisions),
    )


@dataclass(frozen=True)
class _Source:
    """What the candidates of a file share."""

    listed: CocoFile
    folder: Path  # of the photographs
    masks: Path  # the folder of the true masks
    numbers: Mapping[Any, int] | None  # category_id → value in the true masks; None if there are none
    list_name: str
    fractions: bool  # whether the corners of polygons are shares of the sides

    def tags(self, image: CocoImage) -> tuple[str, ...]:
        single = (a["category_id"] for a in image.annotations if not is_crowd(a))
        return tuple(sorted({self.listed.categories[key] for key in single if key in self.listed.categories}))


def _candidates(findings: Findings, source: _Source) -> list[Candidate]:
    candidates: list[Candidate] = []
    first: dict[str, CocoImage] = {}
    elsewhere: list[str] = []
    unsized = 0
    files = NamedFiles(source.folder, findings.root.stem.rpartition("_")[2])  # instances_train2017: of train2017
    for image in source.listed.images:
        where = f"{findings.root.name}, images[{image.number}]"
        path = files.path_of(image.name)
        image_id = _image_id(image.name if path is None else path)
        if path is None:
            findings.leave_out(image_id, where, f"{image.name!r} is outside of {source.folder}")
            continue
        elsewhere += [image.name] if path != image.name else []
        if image.unknown:
            findings.leave_out(
                image_id, where, "the category of one of its objects is not listed, so its tags are not known"
            )
            continue
        other = first.setdefault(path, image)
        if other is not image:
            findings.add(
                where,
                f"{image.name!r} (id {image.record['id']}) and {other.name!r} (id {other.record['id']}, "
                f"images[{other.number}]) are one file, {path!r}; give both one id, or name the right folder with --images",
            )
            continue
        candidate = Candidate(
            image_id=image_id,
            path=source.folder / path,
            tags=source.tags(image),
            lists=(source.list_name,) if source.list_name else (),
            where=where,
            within=source.folder,
        )
        drawn = _drawn(findings, source, image, candidate)
        if drawn:
            unsized += drawn.stated is None
            mask = source.masks / f"{file_name(image_id)}.png"
            candidate = replace(candidate, mask=mask, mask_bytes=drawn.encoded, mask_size=drawn.stated)
        candidates.append(candidate)
    if elsewhere:
        findings.decisions.append(
            f"found elsewhere below {source.folder} than their names say: {len(elsewhere)} files, such as {elsewhere[0]!r}"
        )
    findings.problems += shifted_ids(findings, source.listed)
    if unsized:
        findings.decisions.append(
            f"without width and height: {unsized} images; their true masks have the size of the photograph"
        )
    return candidates


def _drawn(findings: Findings, source: _Source, image: CocoImage, photograph: Candidate) -> DrawnMask | None:
    """The true mask of an image; None if it has none, which is noted unless no image of the file has one."""
    if source.numbers is None:
        return None
    reason, stated = "", None
    if any(not is_drawn(a) for a in image.annotations if a["category_id"] not in source.listed.backgrounds):
        reason = "some of its objects are only boxes, which a true mask would show as background"
    try:
        stated = stated_size(image.record)
    except ValueError as error:
        reason = reason or str(error)
    if reason:
        findings.leave_out(photograph.image_id, photograph.where, reason, what=MASK)
        return None
    outlined = [a for a in image.annotations if is_drawn(a)]
    return DrawnMask(outlined, source.numbers, stated, photograph.read_photograph, source.fractions)


def _image_id(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix() if PurePosixPath(name).name else name
