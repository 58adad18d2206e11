"""Draw the images that a person audits, and add more of them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.audits import Sample, SampledImage
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import DataError
from labelfactory.level.ratio import Areas
from labelfactory.level.strata import LEAST, Design, Numbers, drawn, make_design, permanent_number, rarest, shared_out
from labelfactory.review.areas import MASKS, Expected, expected_areas

UNTAGGED = "no tag"
DESIGN = (
    "stratified by rarest tag and expected error; simple random in each stratum, by permanent random numbers from the seed and "
    "the photograph's SHA-256"
)


def draw_sample(dataset: Dataset, name: str, *, count: int, seed: int, points: int) -> Sample:
    """Draw a sample of a list.

    Args:
        dataset: of the images.
        name: of the list.
        count: images to draw.
        seed: of the permanent random numbers.
        points: to answer for each image; 0 for none.

    Raises:
        DataError: there is no such list, or too few images are to be drawn.
    """
    records = dataset.on_list(name)
    if count < LEAST:
        raise DataError(
            f"--count {count}: a spread needs at least {LEAST} images", "Draw 50, which give a first level."
        )
    design = design_of(records, dataset, expected_areas(records, dataset), count)
    numbers = np.array([permanent_number(seed, record.sha256) for record in records])
    images = _images(records, design, numbers, drawn(design, numbers), 1)
    draws = (sum(image.is_drawn for image in images),)
    return Sample(name, seed, points, dataset.classes.names, DESIGN, draws, images)


def add_to_sample(sample: Sample, dataset: Dataset, *, more: int, points: int | None = None) -> Sample:
    """Draw more images, with chances that stay right; images that came since, or show another photograph, are strata of their own.

    Images that the list has no more leave the population. What is drawn already stays: a larger sample of a stratum are the images
    with the next permanent numbers.

    Args:
        sample: as it is.
        dataset: of the images now.
        more: images to add.
        points: to answer for each image from now on; None for as many as before.

    Raises:
        DataError: the list has no usable image.
    """
    records = {record.image_id: record for record in dataset.on_list(sample.list)}
    kept = [i for i in sample.images if i.image_id in records and records[i.image_id].sha256 == i.photograph]
    known = {image.image_id for image in kept}
    fresh = [record for record in records.values() if record.image_id not in known]
    draw = len(sample.draws) + 1
    old = [records[image.image_id] for image in kept]
    names = [image.stratum for image in kept]
    numbers = np.array([i.number for i in kept] + [permanent_number(sample.seed, r.sha256) for r in fresh])
    labels = np.unique(names) if names else np.array([])
    stratum = np.searchsorted(labels, names).astype(np.int64)
    taken = np.bincount(stratum, weights=[i.is_drawn for i in kept], minlength=len(labels)).astype(np.int64)
    if fresh:
        share = max(LEAST, round(more * len(fresh) / len(records)))
        new = design_of(fresh, dataset, expected_areas(fresh, dataset), share)
        labels = np.concatenate([labels, [f"{name} (from draw {draw})" for name in new.names]])
        stratum = np.concatenate([stratum, new.stratum + len(taken)])
        taken = np.concatenate([taken, np.zeros(len(new.names), dtype=np.int64)])
    everyone = [*old, *fresh]
    spread = _spread(everyone, dataset, expected_areas(everyone, dataset))
    sizes = np.bincount(stratum, minlength=len(labels))
    weights = np.sqrt(np.bincount(stratum, weights=spread**2, minlength=len(labels)) * sizes)
    shares = shared_out(int(taken.sum()) + more, sizes, weights, taken)
    design = Design(tuple(map(str, labels)), stratum, shares)
    images = _images(everyone, design, numbers, drawn(design, numbers), draw, {i.image_id: i.draw for i in kept})
    added = sum(image.draw == draw for image in images)
    return replace(
        sample,
        points=sample.points if points is None else points,
        draws=(*sample.draws, added),
        classes=dataset.classes.names,
        images=images,
    )


def _images(
    records: Sequence[ImageRecord],
    design: Design,
    numbers: Numbers,
    chosen: NDArray[np.bool_],
    draw: int,
    before: dict[str, int] | None = None,
) -> tuple[SampledImage, ...]:
    """The rows of the population; one that was drawn before keeps its draw."""
    chance = design.taken / np.maximum(np.bincount(design.stratum, minlength=len(design.taken)), 1)
    draws = before or {}
    return tuple(
        SampledImage(
            record.image_id,
            record.sha256,
            design.names[stratum],
            float(number),
            float(chance[stratum]),
            (draws.get(record.image_id) or draw) if is_chosen else 0,
        )
        for record, stratum, number, is_chosen in zip(records, design.stratum, numbers, chosen, strict=True)
    )


def design_of(records: Sequence[ImageRecord], dataset: Dataset, expected: Expected, count: int) -> Design:
    """The strata of some images, and how many of each are drawn.

    Args:
        records: the images.
        dataset: of their classes.
        expected: what is expected of each.
        count: images to draw.
    """
    tags = np.array([dataset.classes.multi_hot(record.tags) > 0 for record in records])
    groups = [dataset.classes.names[tag] if tag >= 0 else UNTAGGED for tag in rarest(tags)]
    spread = _spread(records, dataset, expected)
    return make_design(groups, spread, spread, count)


def _spread(records: Sequence[ImageRecord], dataset: Dataset, expected: Expected) -> Numbers:
    """How far the error of each image's mask may move the mIoU, as far as is expected; [N].

    The error of a class moves its IoU by the image's share of the class's area, times the spread of what is right there. Where
    nothing is expected, every image with a tag has the same share, and half of it is right.
    """
    tags = np.array([dataset.classes.multi_hot(record.tags) > 0 for record in records])
    here = np.column_stack([np.ones(len(records), dtype=bool), tags])
    areas = expected.areas[MASKS]
    is_known = np.isfinite(expected.quality)[:, None]
    typical = _typical_area(areas, here & is_known)
    union = np.where(is_known, areas.union, here * typical)
    right = np.divide(areas.intersection, union, out=np.full(union.shape, 0.5), where=is_known & (union > 0)).clip(
        0.1, 0.9
    )
    share = np.divide(union, union.sum(axis=0), out=np.zeros(union.shape), where=union.sum(axis=0) > 0)
    spread: Numbers = np.sqrt((share**2 * right * (1 - right)).sum(axis=1))
    return spread


def _typical_area(areas: Areas, here: NDArray[np.bool_]) -> Numbers:
    """Mean expected area of each class over the images that have it; 1 where none is known."""
    count = here.sum(axis=0)
    mean: Numbers = np.divide(
        (areas.union * here).sum(axis=0),
        count,
        out=np.ones(len(count)),
        where=(count > 0) & (areas.union.sum(axis=0) > 0),
    )
    return mean
