"""The colours of training images at each threshold, and a sample of them, masked and scored by the classifier, in all processes.

Samples are a function of the image ids alone (those with the smallest digests), so that new images hardly change them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
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
from models.calibration import Evidence, best_threshold, curve_of_j, explained_colours, masked_evidence
from models.classifier import Classifier, classifier_from
from models.grids import aligned_size

THRESHOLDS = tuple(round(0.01 * k, 2) for k in range(10, 91))
"""Candidates: 0.10, 0.11 … 0.90."""
MASKED = THRESHOLDS[::5]
"""Those at which the classifier is asked: 0.10, 0.15 … 0.90."""
MOST_COLOURED = 2000
"""Training images whose colours are looked at, at most: each has to be decoded."""


class CalibrationSection(Section):
    """How thresholds are chosen without a true mask."""

    images: int = Field(ge=1, description="training images that the classifier is shown masked")
    scale: float = Field(gt=0, le=2, description="scale of these images at the classifier's input")
    precision: Precision = Field(description="of the network")


def choose(rows: RowReader, column: str, dataset: Dataset, cfg: CalibrationSection, path: Path) -> float:
    """Choose a background threshold for the class scores in a column, and write what each threshold has for it to `path`.

    Raises:
        DataError: no training image has a tag and a usable row.
    """
    sample = _sample(rows, dataset.training, max(cfg.images, MOST_COLOURED))
    setup = (cfg, rows.folder.folder, column)
    tasks = [(record, dataset.classes.ids(record.tags), k < cfg.images) for k, record in enumerate(sample)]
    views: list[_View] = []
    with progress("calibrating", len(sample)) as tick, spread(len(sample), _start, setup) as submit:
        for view in submit(_look, tasks):
            views.append(view)
            tick()
    in_order = sorted(views, key=lambda view: view.image_id)  # sums of floats depend on the order
    j = np.interp(THRESHOLDS, MASKED, curve_of_j([view.masked for view in in_order if view.masked is not None]))
    explained = np.mean([view.explained for view in in_order], axis=0)
    points = zip(THRESHOLDS, j, explained, strict=True)
    write_csv(
        path, ("threshold", "J", "explained"), ((t, round(float(a), 6), round(float(b), 6)) for t, a, b in points)
    )
    return best_threshold(THRESHOLDS, explained, j)


def _sample(rows: RowReader, records: Sequence[ImageRecord], count: int) -> list[ImageRecord]:
    usable = [r for r in records if r.tags and r.image_id in rows]
    if not usable:
        raise DataError("no training image has a tag to calibrate on", "Set the thresholds in params.yaml as numbers.")
    return sorted(usable, key=lambda r: digest_bytes(r.image_id.encode()))[:count]


class _View(NamedTuple):
    """What one image says of each threshold."""

    image_id: str
    explained: NDArray[np.float64]
    masked: Evidence | None
    """None where the classifier was not asked."""


class _Judge:
    """One process's classifier and reader."""

    def __init__(self, cfg: CalibrationSection, folder: Path, column: str) -> None:
        state, passport = load_checkpoint(Path("data/classifier") / CHECKPOINT)
        self.device = pick_device()
        self.net: Classifier = classifier_from(passport.architecture, state).to(self.device)
        self.stride = passport.architecture["output_stride"]
        self.cfg, self.column, self.rows = cfg, column, RowReader(folder)

    def __call__(self, record: ImageRecord, class_ids: Any, ask: bool) -> _View:
        scores = torch.from_numpy(self.rows[record.image_id][self.column]).to(self.device)
        photograph = to_tensor(record.photograph()).to(self.device)
        explained = explained_colours(photograph, scores, THRESHOLDS)
        if not ask:
            return _View(record.image_id, explained, None)
        with inference_precision(self.cfg.precision, self.net, photograph[None], scale=self.cfg.scale):
            masked = masked_evidence(
                self.net,
                photograph,
                scores,
                [int(k) - 1 for k in class_ids],
                MASKED,
                size=aligned_size(record.height, record.width, stride=self.stride, scale=self.cfg.scale),
            )
        return _View(record.image_id, explained, masked)


_judge_of_this_process: _Judge | None = None


def _start(cfg: CalibrationSection, folder: Path, column: str) -> None:
    global _judge_of_this_process
    _judge_of_this_process = _Judge(cfg, folder, column)


def _look(record: ImageRecord, class_ids: Any, ask: bool) -> _View:
    if _judge_of_this_process is None:
        raise RuntimeError("the process has no judge")
    return _judge_of_this_process(record, class_ids, ask)
