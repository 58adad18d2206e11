"""The quality of all masks in one view: by class, worst first, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from labelfactory.dataset.level_record import UNKNOWN, Figure, Refit, RefitLine, in_points
from labelfactory.dataset.prepared import Dataset
from labelfactory.level.refit import fold_of
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.schema import BACKGROUND
from labelfactory.settings.wiring import DATA, read_wiring

POOR = 0.5
"""Masks of a class whose expected IoU is lower are probably poor."""
COLUMNS = ("class_ids", "expected_iou", "intersection", "union")
"""What is read of each rating beside its quality."""
AUDITS = 50
"""Audited images that tell how good the masks are."""


@dataclass(frozen=True)
class RatedMask:
    """What is expected of one mask.

    Attributes:
        image_id: of the image.
        quality: in [0, 1], as `data/quality` has it.
        iou: class name → expected IoU, of the background, tags and classes in the mask.
        areas: class name → expected intersection and union with the truth, in pixels.
        fitted: class name → the same brought to the level of audited images; empty where there are too few.
    """

    image_id: str
    quality: float
    iou: dict[str, float]
    areas: dict[str, tuple[float, float]]
    fitted: dict[str, float] = field(default_factory=dict)

    @property
    def fitted_quality(self) -> float | None:
        """The quality at the level of audited images; None where there are too few. 0 and 1 stay: empty, and drawn by a person."""
        if not self.fitted:
            return None
        return float(np.mean(list(self.fitted.values()))) if 0 < self.quality < 1 else self.quality


@dataclass(frozen=True)
class ClassQuality:
    """A class over all rated masks.

    Attributes:
        name: of the class.
        images: number of masks with the tag; of the background, of all.
        iou: expected IoU over all pixels of these masks.
        worst: ids of the images with the lowest expected IoU, worst first.
    """

    name: str
    images: int
    iou: float
    worst: tuple[str, ...]


@dataclass(frozen=True)
class QualitySummary:
    """All rated masks, worst first, and what they say of each class; `unrated` masks are on disk without a quality."""

    masks: tuple[RatedMask, ...]
    classes: tuple[ClassQuality, ...]
    unrated: int

    @property
    def mean(self) -> float:
        """Mean quality; NaN without a mask."""
        return float(np.mean([mask.quality for mask in self.masks])) if self.masks else float("nan")

    @property
    def fitted_mean(self) -> float | None:
        """Mean of the qualities at the level of audited images; None where there are too few."""
        values = [mask.fitted_quality for mask in self.masks]
        return float(np.mean([v for v in values if v is not None])) if any(v is not None for v in values) else None

    def sentences(self, audited: Mapping[str, Figure]) -> list[str]:
        """What a person should know: which classes are poor, and what would tell.

        Args:
            audited: class → its IoU by audited images of these masks, where there are some.
        """
        levels = {c.name: audited[c.name].value if c.name in audited else c.iou for c in self.classes if c.images}
        poor = sorted((name for name, iou in levels.items() if iou < POOR), key=lambda name: levels[name])
        return [
            f"The masks of {name} are poor: {in_points(audited[name])} by audited images."
            if name in audited
            else f"The masks of {name} are probably poor ({100 * levels[name]:.0f} {UNKNOWN}): {AUDITS} audited images would tell."
            for name in poor
        ]


def summary_of(dataset: Dataset, *, worst: int, refit: Refit | None = None) -> QualitySummary:
    """Read the quality of the masks on disk.

    Args:
        dataset: of the images.
        worst: number of images that are named for each class.
        refit: what brings their expected IoUs to the level of audited images.

    Raises:
        DataError: a shard is damaged.
    """
    noun = read_wiring().masks.noun
    states, rated = RowReader(DATA / noun, dataset).states, RatedRows(noun, dataset)
    names, columns = dataset.classes.with_background, {name: rated.values(name) for name in COLUMNS}
    masks, tags, unrated = [], {}, 0
    lines = refit.lines if refit is not None else ()
    for record in dataset.training:
        state = states.get(record.image_id)
        if state is None:
            continue
        quality = rated.quality(record.image_id, state.digest)
        if quality is None:
            unrated += 1
            continue
        row = {name: values[record.image_id] for name, values in columns.items()}
        tags[record.image_id] = {names[BACKGROUND], *record.tags}
        pixels = record.height * record.width
        shown = [names[k] for k in row["class_ids"]]
        iou = dict(zip(shown, map(float, row["expected_iou"]), strict=True))
        sides = zip(row["intersection"] * pixels, row["union"] * pixels, strict=True)
        areas = dict(zip(shown, ((float(i), float(u)) for i, u in sides), strict=True))
        counted = [name for name in shown if name in tags[record.image_id] or areas[name][1] > 0]
        fitted = _fitted(lines[fold_of(record.sha256)], {name: iou[name] for name in counted}) if lines else {}
        masks.append(RatedMask(record.image_id, quality, iou, areas, fitted))
    masks.sort(key=lambda mask: (mask.quality, mask.image_id))
    classes = tuple(_of_class(name, [m for m in masks if name in tags[m.image_id]], masks, worst) for name in names)
    return QualitySummary(tuple(masks), classes, unrated)


def _fitted(by: RefitLine, iou: Mapping[str, float]) -> dict[str, float]:
    """Expected IoUs at the level of audited images, by class."""
    values = by.line(list(iou)).moved(np.array(list(iou.values())), np.arange(len(iou)))
    return dict(zip(iou, map(float, values), strict=True))


def _of_class(name: str, tagged: Sequence[RatedMask], masks: Sequence[RatedMask], worst: int) -> ClassQuality:
    areas = np.array([mask.areas[name] for mask in masks if name in mask.areas], dtype=np.float64).reshape(-1, 2)
    intersection, union = areas.sum(axis=0)
    order = sorted(tagged, key=lambda mask: (mask.iou[name], mask.image_id))
    ids = tuple(mask.image_id for mask in order[:worst])
    return ClassQuality(name, len(tagged), float(intersection / union) if union else 0.0, ids)
