"""Scores images against their true masks, in all processes; counts of images are added up."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.prepared import Dataset, ImageRecord, read_dataset
from labelfactory.dataset.tensors import to_tensor
from labelfactory.dataset.truth import true_mask
from labelfactory.devices import pick_device
from labelfactory.learning.checkpoints import CHECKPOINT, load_checkpoint, read_passport
from labelfactory.learning.training_rows import not_new
from labelfactory.metrics import Confusion, ThresholdCurve
from labelfactory.rows.predicted import INFERENCE, PredictedRows
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import Row
from labelfactory.schema import VOID, Mask, labels_from_channels
from labelfactory.settings.thresholds import read_thresholds
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring, stage_wiring
from labelfactory.stage.output_state import SETTINGS, State
from models.seeds import channels_above, scores_at_size
from models.segmenters import Segmenter, segmenter_from
from models.segmenters._whole_photograph import Inference, best_of, probabilities_of


def scored_stages() -> tuple[StageWiring, ...]:
    """The stages whose output is there, and `evaluate` scores it by mIoU: steps of the line in order, then references."""
    inputs = stage_wiring("evaluate").inputs
    return tuple(s for s in read_wiring().scored if s.noun in inputs and (DATA / s.noun).exists())


def wired_scores() -> tuple[str, ...]:
    """Names of what `evaluate` would score if all outputs were there."""
    inputs = stage_wiring("evaluate").inputs
    return tuple(stage.meta.scores.name for stage in read_wiring().scored if stage.noun in inputs)


def scored_maps() -> tuple[StageWiring, ...]:
    """The scored stages whose rows are class scores, which a background threshold turns into masks."""
    return tuple(stage for stage in scored_stages() if stage.meta.scores.thresholds)


def score_names() -> tuple[str, ...]:
    """Names of what is scored by mIoU, as in metrics."""
    return tuple(stage.meta.scores.name for stage in scored_stages())


def inference_state(inference: Inference) -> State:
    """The state of these settings, as `measured` of metrics.json has it: the same network scores otherwise with others."""
    return {"name": INFERENCE, "kind": SETTINGS, "digest": inference.digest, "rows": 0}


@dataclass
class Counts:
    """Counts of pixels over some images."""

    n_classes: int
    confusions: dict[str, Confusion] = field(default_factory=dict)
    curves: dict[str, ThresholdCurve] = field(default_factory=dict)
    images: dict[str, int] = field(default_factory=dict)
    label_pixels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Pixels of partial labels, by score name: right, confident, all."""

    def has_curve(self, name: str) -> bool:
        """Whether class scores of that name were counted at all thresholds."""
        return name in self.curves and bool(self.curves[name].counts.any())

    def add(self, other: "Counts") -> None:
        """Add the counts of other images."""
        for name, confusion in other.confusions.items():
            own = self.confusions.setdefault(name, Confusion(self.n_classes))
            own.counts += confusion.counts
            own.undecided += confusion.undecided
        for name, curve in other.curves.items():
            self.curves.setdefault(name, ThresholdCurve(self.n_classes)).counts += curve.counts
        for name, count in other.images.items():
            self.images[name] = self.images.get(name, 0) + count
        for name, pixels in other.label_pixels.items():
            self.label_pixels[name] = self.label_pixels.get(name, np.zeros(3, dtype=np.int64)) + pixels


class Scorer:
    """All outputs that are scored, opened once in a process."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.dataset: Dataset = read_dataset(DATA / "dataset" / "images.parquet")
        scored, inputs = scored_stages(), stage_wiring("evaluate").inputs
        self.maps = scored_maps()
        self.masks = tuple(s for s in scored if s.meta.kind == "rows" and not s.meta.scores.thresholds)
        row_stages = [stage for stage in read_wiring().of_kind("rows") if stage.noun in inputs]
        self.labels = tuple(stage for stage in row_stages if stage.meta.scores.measure == "accuracy")
        self.rows = {stage.noun: RowReader(DATA / stage.noun) for stage in row_stages}
        self.thresholds = {
            stage.meta.scores.name: read_thresholds(DATA / stage.meta.scores.thresholds)["background"].value
            for stage in self.maps
        }
        networks = (stage for stage in scored if stage.meta.kind == "network")
        self.networks = tuple(stage for stage in networks if (DATA / stage.noun / CHECKPOINT).exists())
        self.predicted = {stage.noun: self._predicted_rows(stage.noun) for stage in self.networks}
        self.not_new = {stage.meta.scores.name: not_new(DATA / stage.noun, self.dataset) for stage in self.networks}
        """Images that do not count for a network, by score name."""
        self.net = cache(_load)

    def score_image(self, record: ImageRecord) -> Counts:
        """Count the pixels of one image for every output that has it."""
        counts = Counts(len(self.dataset.classes) + 1)
        truth = true_mask(record, self.dataset)
        for stage, row in self.rows_of(self.maps, record):
            scores = scores_at_size(row[stage.meta.scores.column], truth.shape)
            curve = counts.curves[stage.meta.scores.name] = ThresholdCurve(counts.n_classes)
            best = labels_from_channels(channels_above(scores, 0.0), row["class_ids"])
            curve.add(truth, best, scores.max(axis=0, initial=0.0))
        for name, mask in self.masks_of(record).items():
            if record.image_id in self.not_new.get(name, ()):
                continue
            counts.confusions[name] = Confusion(counts.n_classes)
            counts.confusions[name].add(truth, mask)
            counts.images[name] = 1
        for stage, row in self.rows_of(self.labels, record):
            counts.label_pixels[stage.meta.scores.name] = _label_pixels(row[stage.meta.scores.column], truth)
        return counts

    def rows_of(self, stages: Sequence[StageWiring], record: ImageRecord) -> Iterator[tuple[StageWiring, Row]]:
        """The row of an image in each of these stages' outputs that has one."""
        for stage in stages:
            if record.image_id in self.rows[stage.noun]:
                yield stage, self.rows[stage.noun][record.image_id]

    def masks_of(self, record: ImageRecord, photograph: Photograph | None = None) -> dict[str, Mask]:
        """Score name → mask of one image, [H, W] uint8 class ids, 255 void, for every output that has the image."""
        size = (record.height, record.width)
        masks: dict[str, Mask] = {}
        for stage, row in self.rows_of(self.maps, record):
            name = stage.meta.scores.name
            channels = channels_above(scores_at_size(row[stage.meta.scores.column], size), self.thresholds[name])
            masks[name] = labels_from_channels(channels, row["class_ids"])
        for stage, row in self.rows_of(self.masks, record):
            masks[stage.meta.scores.name] = row[stage.meta.scores.column]
        for stage in self.networks:
            row = self.predicted[stage.noun].row(record)
            if row is None:
                photograph = record.photograph() if photograph is None else photograph
                labels, _ = best_of(probabilities_of(self.net(stage.noun), to_tensor(photograph), self.inference))
                masks[stage.meta.scores.name] = labels.cpu().numpy()
            else:
                masks[stage.meta.scores.name] = row["mask"]
        return masks

    def _predicted_rows(self, noun: str) -> PredictedRows:
        """What the line has predicted with a network already."""
        weights = read_passport(DATA / noun / CHECKPOINT).weights_digest
        names = self.dataset.classes.names
        return PredictedRows(noun, weights=weights, inference=self.inference.digest, classes=names)


def _load(noun: str) -> Segmenter:
    """A segmenter on this process's device."""
    state, passport = load_checkpoint(DATA / noun / CHECKPOINT)
    return segmenter_from(passport.architecture, state).to(pick_device())


def _label_pixels(label: Mask, truth: Mask) -> NDArray[np.int64]:
    """Pixels of a partial label [h, w] against a true mask [H, W]: right, confident, known; both uint8, 255 void."""
    rows = (np.arange(truth.shape[0]) * label.shape[0]) // truth.shape[0]
    columns = (np.arange(truth.shape[1]) * label.shape[1]) // truth.shape[1]
    wide, known = label[rows][:, columns], truth != VOID
    confident = known & (wide != VOID)
    return np.array([(wide[confident] == truth[confident]).sum(), confident.sum(), known.sum()], dtype=np.int64)


_scorer_of_this_process: Scorer | None = None


def start_scorer(inference: Inference) -> None:
    """Open all outputs once in this process."""
    global _scorer_of_this_process
    _scorer_of_this_process = Scorer(inference)


@dataclass(frozen=True)
class OwnScore:
    """The score of one image alone.

    Attributes:
        miou: NaN where nothing was counted.
        cells: [n, 3] uint32: true class, predicted class (255: void) and pixels, of each pair that occurs.
    """

    miou: float
    cells: NDArray[np.uint32]


def score_images(records: Sequence[ImageRecord]) -> tuple[Counts, dict[str, dict[str, OwnScore]]]:
    """Score some images: their counts added up, and each image's own by score name."""
    if _scorer_of_this_process is None:
        raise RuntimeError("the process has no scorer")
    total = Counts(len(_scorer_of_this_process.dataset.classes) + 1)
    each: dict[str, dict[str, OwnScore]] = {}
    for record in records:
        counts = _scorer_of_this_process.score_image(record)
        each[record.image_id] = {name: OwnScore(c.miou(), c.cells()) for name, c in counts.confusions.items()}
        total.add(counts)
    return total, each


def flat_metrics(counts: Counts, split: str, names: Sequence[str]) -> dict[str, Any]:
    """`miou/<split>/<name>`, `iou/<split>/<name>/<class>` and the number of images of each."""
    metrics: dict[str, Any] = {}
    for name in [name for name in score_names() if name in counts.confusions]:
        confusion = counts.confusions[name]
        metrics[f"miou/{split}/{name}"] = confusion.miou()
        for class_name, iou in zip(names, confusion.iou(), strict=True):
            if np.isfinite(iou):
                metrics[f"iou/{split}/{name}/{class_name}"] = float(iou)
        metrics[f"images/{split}/{name}"] = counts.images[name]
    for name, curve in counts.curves.items():
        best_threshold, best_miou = curve.best()
        metrics[f"miou/{split}/{name}_at_best_threshold"] = best_miou
        metrics[f"threshold/{split}/{name}_best"] = best_threshold
    for name, pixels in counts.label_pixels.items():
        right, confident, known = (int(x) for x in pixels)
        if confident:
            metrics[f"{name}/{split}/accuracy"] = right / confident
            metrics[f"{name}/{split}/coverage"] = confident / known
    return metrics
