"""Scores one image after another against its true mask, in all processes; the counts of many images add up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.dataset.tensors import to_tensor
from labelfactory.dataset.truth import true_mask
from labelfactory.devices import Precision, pick_device
from labelfactory.learning.checkpoints import CHECKPOINT, load_checkpoint
from labelfactory.metrics import Confusion, ThresholdCurve
from labelfactory.rows.reader import RowReader
from labelfactory.schema import VOID, Mask, labels_from_channels
from labelfactory.settings.thresholds import read_thresholds
from models.autocast import inference_precision
from models.seeds import channels_above, scores_at_size
from models.segmenters import Segmenter, predict, segmenter_from

DATA = Path("data")
MADE = ("seeds", "walks", "masks", "model", "upper_bound")
"""What is scored, in the order of the line."""
SCORED_MAPS = {"seeds": ("cams", "cam", "seed_thresholds"), "walks": ("walks", "scores", "walk_threshold")}
"""What comes from class scores: folder, column, folder of its background threshold."""
NETS = {"model": "segmenter", "upper_bound": "upper_bound"}


@dataclass(frozen=True)
class ScoringConfig:
    """How nets look at a photograph."""

    scales: tuple[float, ...]
    flip: bool
    precision: Precision


@dataclass
class Counts:
    """Counts of pixels over some images."""

    n_classes: int
    confusions: dict[str, Confusion] = field(default_factory=dict)
    curves: dict[str, ThresholdCurve] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    label_pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(3, dtype=np.int64))
    """Of the affinity labels: right, confident, all."""

    def add(self, other: "Counts") -> None:
        """Add the counts of other images."""
        for made, confusion in other.confusions.items():
            own = self.confusions.setdefault(made, Confusion(self.n_classes))
            own.counts += confusion.counts
            own.undecided += confusion.undecided
        for made, curve in other.curves.items():
            self.curves.setdefault(made, ThresholdCurve(self.n_classes)).counts += curve.counts
        for made, count in other.images.items():
            self.images[made] = self.images.get(made, 0) + count
        self.label_pixels += other.label_pixels


class Scorer:
    """Everything that the line made, opened once in a process."""

    def __init__(self, cfg: ScoringConfig) -> None:
        self.cfg = cfg
        self.device = pick_device()
        self.dataset: Dataset = read_dataset(DATA / "dataset" / "images.parquet")
        self.rows = {noun: RowReader(DATA / noun) for noun in ("cams", "walks", "masks", "affinity_labels")}
        self.thresholds = {
            made: read_thresholds(DATA / noun)["background"].value for made, (_, _, noun) in SCORED_MAPS.items()
        }
        self.nets: dict[str, tuple[Segmenter, int]] = {}
        for made, noun in NETS.items():
            path = DATA / noun / CHECKPOINT
            if path.exists():
                state, passport = load_checkpoint(path)
                net = segmenter_from(passport.architecture, state).to(self.device)
                self.nets[made] = (net, passport.architecture["output_stride"])

    def score_image(self, record: ImageRecord) -> Counts:
        """Count the pixels of one image for all that was made of it."""
        counts = Counts(len(self.dataset.classes) + 1)
        truth = true_mask(record, self.dataset)
        for made, (noun, column, _) in SCORED_MAPS.items():
            if record.image_id in self.rows[noun]:
                row = self.rows[noun][record.image_id]
                scores = scores_at_size(row[column], truth.shape)
                counts.curves[made] = ThresholdCurve(counts.n_classes)
                best = labels_from_channels(channels_above(scores, 0.0), row["class_ids"])
                counts.curves[made].add(truth, best, scores.max(axis=0, initial=0.0))
        for made, mask in self.masks_of(record).items():
            counts.confusions[made] = Confusion(counts.n_classes)
            counts.confusions[made].add(truth, mask)
            counts.images[made] = 1
        counts.label_pixels = self._label_pixels(record, truth)
        return counts

    def masks_of(self, record: ImageRecord, photograph: Photograph | None = None) -> dict[str, Mask]:
        """Seed, walk, mask and predictions of one image, [H, W] uint8 each, as far as they were made."""
        size = (record.height, record.width)
        found: dict[str, Mask] = {}
        for made, (noun, column, _) in SCORED_MAPS.items():
            if record.image_id in self.rows[noun]:
                row = self.rows[noun][record.image_id]
                channels = channels_above(scores_at_size(row[column], size), self.thresholds[made])
                found[made] = labels_from_channels(channels, row["class_ids"])
        if record.image_id in self.rows["masks"]:
            found["masks"] = self.rows["masks"][record.image_id]["mask"]
        if self.nets:
            pixels = record.photograph() if photograph is None else photograph
            image = to_tensor(pixels)[None].to(self.device)
            for made, (net, _) in self.nets.items():
                with inference_precision(self.cfg.precision, self.device):
                    probabilities = predict(net, image, scales=self.cfg.scales, flip=self.cfg.flip)
                found[made] = probabilities[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
        return found

    def _label_pixels(self, record: ImageRecord, truth: Mask) -> NDArray[np.int64]:
        if record.image_id not in self.rows["affinity_labels"]:
            return np.zeros(3, dtype=np.int64)
        label = self.rows["affinity_labels"][record.image_id]["label"]
        rows = (np.arange(truth.shape[0]) * label.shape[0]) // truth.shape[0]
        columns = (np.arange(truth.shape[1]) * label.shape[1]) // truth.shape[1]
        wide, known = label[rows][:, columns], truth != VOID
        confident = known & (wide != VOID)
        return np.array([(wide[confident] == truth[confident]).sum(), confident.sum(), known.sum()], dtype=np.int64)


_scorer_of_this_process: Scorer | None = None


def start_scorer(cfg: ScoringConfig) -> None:
    """Open everything once in this process."""
    global _scorer_of_this_process
    _scorer_of_this_process = Scorer(cfg)


def score_images(records: Sequence[ImageRecord]) -> tuple[Counts, dict[str, dict[str, float]]]:
    """Score some images: their counts added up, and each image's own mIoU of what was made of it."""
    if _scorer_of_this_process is None:
        raise RuntimeError("the process has no scorer")
    total = Counts(len(_scorer_of_this_process.dataset.classes) + 1)
    each: dict[str, dict[str, float]] = {}
    for record in records:
        counts = _scorer_of_this_process.score_image(record)
        each[record.image_id] = {made: c.miou() for made, c in counts.confusions.items()}
        total.add(counts)
    return total, each


def flat_metrics(counts: Counts, split: str, names: Sequence[str]) -> dict[str, Any]:
    """`miou/<split>/<what>`, `iou/<split>/<what>/<class>` and how many images each is over."""
    metrics: dict[str, Any] = {}
    for made in MADE:
        if made not in counts.confusions:
            continue
        confusion = counts.confusions[made]
        metrics[f"miou/{split}/{made}"] = confusion.miou()
        for name, iou in zip(names, confusion.iou(), strict=True):
            if np.isfinite(iou):
                metrics[f"iou/{split}/{made}/{name}"] = float(iou)
        metrics[f"images/{split}/{made}"] = counts.images[made]
    for made, curve in counts.curves.items():
        best_threshold, best_miou = curve.best()
        metrics[f"miou/{split}/{made}_at_best_threshold"] = best_miou
        metrics[f"threshold/{split}/{made}_best"] = best_threshold
    right, confident, known = (int(x) for x in counts.label_pixels)
    if confident:
        metrics[f"affinity_labels/{split}/accuracy"] = right / confident
        metrics[f"affinity_labels/{split}/coverage"] = confident / known
    return metrics
