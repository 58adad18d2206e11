"""Whether the intervals of `labelfactory review estimate` hold: many samples of a project whose images all have true masks.

    python -m benchmarks.level PROJECT [--list train] [--counts 50,150] [--redraws 1000] [--seeds 0,1]

PROJECT is a finished line; nothing in it is changed. For each seed and count, samples are drawn as `review sample` draws them, and
each is estimated as `review estimate` does, from true masks that a person would have drawn, with expected areas and without
(λ = 0). `covered` is the share of samples whose interval has the true figure, `±` the mean half width, `spread` 1.96 standard
deviations of the estimates, in points; of classes only samples in which the class has an interval. Where data/quality is missing,
expected areas are those of the soft IoU: with p the model's probabilities, Σ_M p and |M| + Σ_outside p.

A last line for each seed and count says how far the expected mIoU of single masks is off for images outside of the sample, as it is
and fitted to the sample's truth (labelfactory/level/refit.py), and how well both rank them.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.dataset.truth import has_truth, true_mask
from labelfactory.level.interval import Interval
from labelfactory.level.ratio import Areas, estimate
from labelfactory.level.refit import fold_of, moved
from labelfactory.level.strata import drawn
from labelfactory.progress import progress
from labelfactory.review.areas import MASKS, MODEL, QUALITY, Expected, areas_of, expected_areas
from labelfactory.review.refit import refit_of
from labelfactory.review.sample import design_of
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import Row
from labelfactory.schema import Mask

STRIDE = 4
"""Of the probabilities in data/predictions."""


@dataclass(frozen=True)
class Population:
    """Images with a mask, a prediction and a true mask: what is true of them and what is expected."""

    dataset: Dataset
    records: list[ImageRecord]
    truth: dict[str, Areas]
    expected: Expected


def population(name: str) -> Population:
    """Of a list of the project in the current folder."""
    dataset = read_dataset()
    masks, predictions = RowReader(Path("data/masks"), dataset), RowReader(Path("data/predictions"), dataset)
    listed = [record for record in dataset.on_list(name) if has_truth(record)]
    records = [record for record in listed if record.image_id in masks and record.image_id in predictions]
    n_classes = len(dataset.classes) + 1
    true, soft = np.zeros((2, 2, len(records), n_classes)), np.zeros((2, 2, len(records), n_classes))
    with progress("true masks", len(records)) as tick:
        for k, record in enumerate(records):
            truth, predicted = true_mask(record, dataset), predictions[record.image_id]
            for j, mask in enumerate((masks[record.image_id]["mask"], predicted["mask"])):
                true[j, :, k] = areas_of(truth, mask, n_classes)
                soft[j, :, k] = soft_areas(mask, predicted, n_classes)
            tick()
    if QUALITY.is_dir():
        expected = expected_areas(records, dataset)
    else:
        ratio = np.divide(soft[0, 0], soft[0, 1], out=np.full(soft[0, 0].shape, np.nan), where=soft[0, 1] > 0)
        expected = Expected({MASKS: Areas(*soft[0]), MODEL: Areas(*soft[1])}, np.nanmean(ratio, axis=1))
    return Population(dataset, records, {MASKS: Areas(*true[0]), MODEL: Areas(*true[1])}, expected)


def soft_areas(mask: Mask, predicted: Row, n_classes: int) -> np.ndarray:
    """Expected intersection and union of a mask in pixels, [2, n_classes], by the model's probabilities."""
    areas = np.zeros((2, n_classes))
    small = mask[::STRIDE, ::STRIDE]
    for class_id, values in zip(predicted["class_ids"], predicted["probabilities"] / 255.0, strict=True):
        inside = small == class_id
        areas[:, class_id] = values[inside].sum(), inside.sum() + values[~inside].sum()
    return areas * (mask.size / small.size)


@dataclass(frozen=True)
class Outcome:
    """One figure over many samples."""

    name: str
    true: float
    intervals: list[Interval]

    @property
    def line(self) -> str:
        """For a table in Markdown."""
        known = [each for each in self.intervals if np.isfinite(each.low)]
        if not known:
            return f"| {self.name} | {100 * self.true:.1f} | – | – | – | – | 0 |"
        covered = np.mean([each.low <= self.true <= each.high for each in known])
        values = np.array([each.value for each in known])
        half, spread, bias = np.mean([e.half for e in known]), 1.96 * values.std(), values.mean() - self.true
        figures = f"{100 * covered:.1f} % | {100 * half:.2f} | {100 * spread:.2f} | {100 * bias:+.2f}"
        return f"| {self.name} | {100 * self.true:.1f} | {figures} | {len(known)} |"


def outcomes(made: Population, what: str, count: int, seed: int, redraws: int, *, assisted: bool) -> Iterator[Outcome]:
    """mIoU and each class over many samples."""
    design = design_of(made.records, made.dataset, made.expected, count)
    truth, expected = made.truth[what], made.expected.areas[what]
    random = np.random.default_rng([seed, count])
    found = []
    for _ in range(redraws):
        audited = np.flatnonzero(drawn(design, random.random(len(made.records))))
        found.append(estimate(expected, design.stratum, audited, truth.of(audited), assisted=assisted))
    union = truth.union.sum(axis=0)
    iou = np.divide(truth.intersection.sum(axis=0), union, out=np.full(len(union), np.nan), where=union > 0)
    yield Outcome("mIoU", float(np.nanmean(iou)), [each.miou for each in found])
    for class_id, name in enumerate(made.dataset.classes.with_background):
        yield Outcome(name, float(iou[class_id]), [each.iou[class_id] for each in found])


def fitted(made: Population, count: int, seed: int, redraws: int) -> str:
    """How far single masks' expected mIoU is off before and after it is fitted to a sample, and Spearman's correlations; means."""
    design = design_of(made.records, made.dataset, made.expected, count)
    random = np.random.default_rng([seed, count, 1])
    truth, expected = made.truth[MASKS], made.expected.areas[MASKS]
    owner, class_ids = np.nonzero((expected.intersection > 0) & (truth.union > 0))
    folds = np.array([fold_of(record.sha256) for record in made.records], dtype=np.int64)[owner]
    iou, true = (a.intersection[owner, class_ids] / a.union[owner, class_ids] for a in (expected, truth))
    found = []
    for _ in range(redraws):
        audited = np.flatnonzero(drawn(design, random.random(len(made.records))))
        rest = np.setdiff1d(np.unique(owner), audited)
        chosen = [made.records[k] for k in audited]
        areas = expected.of(audited), truth.of(audited)
        known = refit_of(chosen, *areas, made.expected.quality[audited], made.dataset)
        if known is None:
            continue
        lines = [line.line(made.dataset.classes.with_background) for line in known.lines]
        of_images = [
            np.bincount(owner, values)[rest] / np.bincount(owner)[rest]
            for values in (iou, moved(lines, iou, class_ids, folds), true)
        ]
        errors = [np.abs(values - of_images[2]).mean() for values in of_images[:2]]
        found.append([*errors, *(spearmanr(values, of_images[2]).statistic for values in of_images[:2])])
    before, after, rank_before, rank_after = np.mean(found, axis=0)
    return (
        f"single masks, {count} audits, seed {seed}: {100 * before:.1f} points off, fitted {100 * after:.1f}; "
        f"correlation {rank_before:.3f}, fitted {rank_after:.3f}"
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--list", default="train")
    parser.add_argument("--counts", default="50,150")
    parser.add_argument("--redraws", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1")
    asked = parser.parse_args(words)
    os.chdir(asked.project)
    made = population(asked.list)
    source = "data/quality" if QUALITY.is_dir() else "the soft IoU"
    print(f"{len(made.records)} images of {asked.list}; {asked.redraws} samples each; expected areas of {source}")
    for what in (MASKS, MODEL):
        for count in map(int, asked.counts.split(",")):
            for seed in map(int, asked.seeds.split(",")):
                for assisted in (True, False):
                    print(f"\n{what}, {count} audits, seed {seed}, {'with expected areas' if assisted else 'λ = 0'}")
                    print("| | true | covered | ± | spread | bias | samples |\n|---|---:|---:|---:|---:|---:|---:|")
                    for outcome in outcomes(made, what, count, seed, asked.redraws, assisted=assisted):
                        print(outcome.line, flush=True)
    for count in map(int, asked.counts.split(",")):
        for seed in map(int, asked.seeds.split(",")):
            print(fitted(made, count, seed, asked.redraws), flush=True)


if __name__ == "__main__":
    main()
