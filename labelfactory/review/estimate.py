"""Estimate the level of masks and model from what people answered of audited images.

Everything is computed anew from the answers and the masks on disk. An answer counts if it belongs to the photograph that the data
set has now, and if its image is in the sample and still on the list.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from labelfactory.dataset.audited_truth import audited_mask, audited_points, gone_classes
from labelfactory.dataset.audits import (
    POINTS,
    RESTORE,
    AnsweredPoints,
    Sample,
    read_audits,
    read_points,
    read_sample,
)
from labelfactory.dataset.corrections import Correction
from labelfactory.dataset.level_record import TWO_POINTS, Figure, LevelOf, LevelRecord, answers_digest
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.errors import ChangedMeanwhileError, DataError, MissingError
from labelfactory.learning.training_rows import not_new
from labelfactory.level.interval import Interval
from labelfactory.level.ratio import Areas, Labels, Points, estimate
from labelfactory.review.areas import MASKS, MODEL, areas_of, expected_areas, point_areas
from labelfactory.review.refit import refit_of
from labelfactory.rows.reader import RowReader
from labelfactory.schema import Mask
from labelfactory.settings.wiring import DATA, read_wiring
from labelfactory.stage.output_state import State, output_state, states

Read = Callable[[ImageRecord], Mask | None]
"""Returns a mask of an image, [H, W] uint8; None if it has none."""
GONE, CHANGED, OUTSIDE = "no longer on the list", "photograph changed since", "not in the sample"
RENAMED = "they show a class that was renamed or is gone; add them again under its name of now"
FEWEST = 2
"""Audited images, without which nothing can be said."""


@dataclass(frozen=True)
class Answers:
    """What people answered of the images in the sample, as far as it counts.

    Attributes:
        masks: image id → true mask.
        points: image id → answered points, of images without a true mask.
        lost: reason → answered images that do not count.
    """

    masks: Mapping[str, Correction]
    points: Mapping[str, AnsweredPoints]
    lost: Mapping[str, int]

    def __contains__(self, image_id: str) -> bool:
        return image_id in self.masks or image_id in self.points


def answers_of(sample: Sample, dataset: Dataset) -> Answers:
    """The answers that count.

    Raises:
        DataError: a table of them is damaged.
    """
    listed = {record.image_id: record for record in dataset.usable if sample.list in record.lists}
    drawn = {image.image_id for image in sample.images if image.is_drawn}
    masks, points = read_audits(), read_points()
    why: dict[str, str] = {}

    def counts(image_id: str, answer: Correction | AnsweredPoints) -> bool:
        record = listed.get(image_id)
        if image_id not in drawn:
            why[image_id] = OUTSIDE
        elif record is None:
            why[image_id] = GONE
        elif not answer.fits(record):
            why[image_id] = CHANGED
        elif gone_classes(answer, dataset.classes):
            why[image_id] = RENAMED
        else:
            return True
        return False

    whole = {image_id: mask for image_id, mask in masks.items() if counts(image_id, mask)}
    rest = {image_id: each for image_id, each in points.items() if image_id not in whole and counts(image_id, each)}
    return Answers(whole, rest, Counter(reason for i, reason in why.items() if i not in whole and i not in rest))


def estimate_level(dataset: Dataset) -> LevelRecord:
    """Estimate IoU by class and mIoU of masks and model, with intervals.

    Raises:
        MissingError: there is no sample, or fewer than two images have an answer and a mask.
        DataError: a table, mask or shard is damaged.
        ChangedMeanwhileError: a run made other masks or predictions, or somebody answered, while it was computed.
    """
    sample = read_sample()
    before = _state(sample)
    answers = answers_of(sample, dataset)
    listed = {record.image_id: record for record in dataset.usable if sample.list in record.lists}
    population = [image for image in sample.images if image.image_id in listed]
    records = [listed[image.image_id] for image in population]
    names = np.unique([image.stratum for image in population]) if population else np.array([])
    stratum = np.searchsorted(names, [image.stratum for image in population]).astype(np.int64)
    expected = expected_areas(records, dataset)
    outputs = _outputs(dataset)
    found: dict[str, LevelOf] = {}
    refit = None
    for what, (noun, rows) in outputs.items():
        seen = not_new(DATA / noun, dataset) if what == MODEL else frozenset[str]()
        known = [place for place, r in enumerate(records) if r.image_id in rows and r.image_id not in seen]
        here = np.array(known, dtype=np.int64)
        audited = np.array([k for k, place in enumerate(here) if records[place].image_id in answers], dtype=np.int64)
        if len(audited) < FEWEST:
            continue
        chosen = [records[here[k]] for k in audited]
        truth, points = _measured(chosen, rows, answers, dataset)
        areas = expected.areas[what].of(here)
        found[what] = _level(noun, rows.folder.folder.name, areas, stratum[here], audited, truth, points, dataset)
        if what == MASKS:
            refit = refit_of(chosen, areas.of(audited), truth, expected.quality[here[audited]], dataset)
    if not found:
        raise MissingError(
            f"{len(answers.masks) + len(answers.points)} audited images have a mask; an estimate needs at least {FEWEST}",
            "Draw their masks and type `labelfactory corrections add PATH --audit`, or type `labelfactory review points FILE.csv`.",
        )
    present, answered = _state(sample)
    if (present, answered) != before:
        raise ChangedMeanwhileError(
            "masks, predictions or answers were changed while the estimate was computed",
            "Type the command again; after a run has ended, if one is at work.",
        )
    measured = {sample.list, *_behind(), *(noun for noun, _ in outputs.values())}
    return LevelRecord(
        list=sample.list,
        seed=sample.seed,
        drawn=sum(image.is_drawn for image in population),
        population=len(population),
        audited=len(answers.masks) + len(answers.points),
        by_points=len(answers.points),
        lost=answers.lost,
        not_covered=len(listed) - len(population),
        estimates=found,
        refit=refit,
        answers=answered,
        measured=tuple(each for each in present if each["name"] in measured),
    )


def _outputs(dataset: Dataset) -> dict[str, tuple[str, RowReader]]:
    """What is estimated → the output that its digest is of, and its rows; predictions of an earlier model are left out."""
    wiring = read_wiring()
    rows = {MASKS: (wiring.masks.noun, RowReader(DATA / wiring.masks.noun, dataset))}
    noun = wiring.model.noun
    predicting, model = wiring.predicting(noun), output_state(noun)
    if predicting is not None and model is not None:
        made_with = {noun: str(model["digest"])}
        rows[MODEL] = (noun, RowReader(DATA / predicting.noun, dataset, made_with=made_with))
    return rows


def _state(sample: Sample) -> tuple[list[State], str]:
    """What an estimate is of: the states of the outputs and of the list, and the digest of the answers."""
    wiring = read_wiring()
    return states([wiring.masks.noun, wiring.model.noun, *_behind()], [sample.list]), answers_digest()


def _behind() -> list[str]:
    """Outputs that an estimate also depends on."""
    wiring = read_wiring()
    stages = wiring.predicting(wiring.model.noun), wiring.rating(wiring.masks.noun)
    return [stage.noun for stage in stages if stage is not None]


def _level(
    noun: str,
    rows: str,
    areas: Areas,
    strata: Labels,
    audited: Labels,
    truth: Areas,
    points: Points | None,
    dataset: Dataset,
) -> LevelOf:
    """The level of one output."""
    best = estimate(areas, strata, audited, truth, points=points)
    plain = estimate(areas, strata, audited, truth, points=points, assisted=False)
    names = dataset.classes.with_background
    return LevelOf(
        output=noun,
        rows=rows,
        images=len(audited),
        population=len(strata),
        expected=int((areas.union.sum(axis=1) > 0).sum()),
        weight=round(best.weight, 4),
        miou=_figure(best.miou),
        iou={name: _figure(each) for name, each in zip(names, best.iou, strict=True) if np.isfinite(each.value)},
        half_without=_or_none(plain.miou.half),
        more=best.error.more_for(TWO_POINTS),
    )


def _measured(
    records: Sequence[ImageRecord], rows: RowReader, answers: Answers, dataset: Dataset
) -> tuple[Areas, Points | None]:
    """Intersection and union with the truth of audited images, and of each point."""
    n_classes = len(dataset.classes) + 1
    areas = np.zeros((len(records), 2, n_classes))
    owners: list[int] = []
    at_points = []
    for place, record in enumerate(records):
        mask = rows[record.image_id]["mask"]
        if record.image_id in answers.masks:
            areas[place] = areas_of(audited_mask(answers.masks[record.image_id], dataset.classes), mask, n_classes)
            continue
        answered = answers.points[record.image_id]
        inside = _at(mask, answered)
        each = point_areas(audited_points(answered, dataset.classes), inside, mask.size, n_classes)
        areas[place] = each.mean(axis=0)
        owners += [place] * len(each)
        at_points.append(each)
    whole = Areas(areas[:, 0], areas[:, 1])
    if not owners:
        return whole, None
    every = np.concatenate(at_points)
    return whole, Points(np.array(owners, dtype=np.int64), Areas(every[:, 0], every[:, 1]))


def _at(mask: Mask, answered: AnsweredPoints) -> Mask:
    """The mask's classes at the points of an image."""
    y, x = np.array(answered.y), np.array(answered.x)
    if min(y.min(), x.min()) < 0 or y.max() >= mask.shape[0] or x.max() >= mask.shape[1]:
        raise DataError(f"{POINTS}: {answered.image_id}: a point lies outside of its photograph", RESTORE)
    found: Mask = mask[y, x]
    return found


def _figure(interval: Interval) -> Figure:
    return Figure(
        value=round(interval.value, 6),
        low=_or_none(interval.low),
        high=_or_none(interval.high),
        images=interval.images,
    )


def _or_none(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
