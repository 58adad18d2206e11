"""A sample of the training images, masked at each threshold and scored by the classifier, in all processes.

The sample is a function of the image ids alone (those with the smallest digests), so that new images hardly change it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.tensors import to_tensor
from labelfactory.devices import Precision, pick_device
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.files import write_csv
from labelfactory.learning.checkpoints import CHECKPOINT, load_checkpoint
from labelfactory.pool.pool import spread
from labelfactory.progress import progress
from labelfactory.rows.reader import RowReader
from labelfactory.settings.params import Section
from models.autocast import inference_precision
from models.calibration import Evidence, best_threshold, masked_evidence
from models.classifier import Classifier, classifier_from
from models.grids import aligned_size

THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(2, 17))
"""Candidates: 0.10, 0.15 … 0.80."""


class CalibrationSection(Section):
    """How thresholds are chosen without a true mask."""

    images: int = Field(ge=1, description="training images in the sample")
    scale: float = Field(gt=0, le=2, description="scale of these images at the classifier's input")
    precision: Precision = Field(description="of the network")


def choose(rows: RowReader, column: str, dataset: Dataset, cfg: CalibrationSection, path: Path) -> float:
    """Choose a background threshold for the class scores in a column, and write the curve of J to `path`.

    Raises:
        DataError: no training image has a tag and a usable row.
    """
    sample = _sample(rows, dataset.training, cfg.images)
    setup = (cfg, rows.folder.folder, column)
    tasks = [(record, dataset.classes.ids(record.tags)) for record in sample]
    evidence_by_id: list[tuple[str, Evidence]] = []
    with progress("calibrating", len(sample)) as tick, spread(len(sample), _start, setup) as submit:
        for evidence in submit(_judge, tasks):
            evidence_by_id.append(evidence)
            tick()
    in_order = [evidence for _, evidence in sorted(evidence_by_id, key=lambda pair: pair[0])]
    best, curve = best_threshold(THRESHOLDS, in_order)
    points = ((t, round(float(j), 6)) for t, j in zip(THRESHOLDS, curve, strict=True))
    write_csv(path, ("threshold", "J"), points)
    return best


def _sample(rows: RowReader, records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    usable = [r for r in records if r.tags and r.image_id in rows]
    if not usable:
        raise DataError("no training image has a tag to calibrate on", "Set the thresholds in params.yaml as numbers.")
    return sorted(usable, key=lambda r: digest_bytes(r.image_id.encode()))[:count]


class _Judge:
    """One process's classifier and reader."""

    def __init__(self, cfg: CalibrationSection, folder: Path, column: str) -> None:
        state, passport = load_checkpoint(Path("data/classifier") / CHECKPOINT)
        self.device = pick_device()
        self.net: Classifier = classifier_from(passport.architecture, state).to(self.device)
        self.stride = passport.architecture["output_stride"]
        self.cfg, self.column, self.rows = cfg, column, RowReader(folder)

    def __call__(self, record: ImageRecord, class_ids: Any) -> Evidence:
        scores = torch.from_numpy(self.rows[record.image_id][self.column]).to(self.device)
        photograph = to_tensor(record.photograph()).to(self.device)
        with inference_precision(self.cfg.precision, self.net, photograph[None], scale=self.cfg.scale):
            return masked_evidence(
                self.net,
                photograph,
                scores,
                [int(k) - 1 for k in class_ids],
                THRESHOLDS,
                size=aligned_size(record.height, record.width, stride=self.stride, scale=self.cfg.scale),
            )


_judge_of_this_process: _Judge | None = None


def _start(cfg: CalibrationSection, folder: Path, column: str) -> None:
    global _judge_of_this_process
    _judge_of_this_process = _Judge(cfg, folder, column)


def _judge(record: ImageRecord, class_ids: Any) -> tuple[str, Evidence]:
    if _judge_of_this_process is None:
        raise RuntimeError("the process has no judge")
    return record.image_id, _judge_of_this_process(record, class_ids)
