"""The gallery of the report: which photographs it shows, and their pictures. Masks are decoded for those alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.truth import true_mask
from labelfactory.rows.rated import RatedRows
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import read_wiring
from models.seeds import scores_at_size
from reporting.content import GalleryItem, Tile
from stages._scoring import Scorer, scored_stages

MASKS = ("area", "source")
"""Columns of the masks that the gallery is chosen by."""


class MaskColumns:
    """What the gallery is chosen by, without the pixels of masks: image_id → value.

    Args:
        rows: of the masks.
        rated: their quality.
    """

    def __init__(self, rows: RowReader, rated: RatedRows) -> None:
        self.area, self.source = (rows.values(name) for name in MASKS)
        found = {i: rated.quality(i, state.digest) for i, state in rows.states.items()}
        self.quality = {image_id: value for image_id, value in found.items() if value is not None}

    @property
    def drawn(self) -> list[str]:
        """Images whose mask a person drew."""
        return [image_id for image_id, source in self.source.items() if source == HUMAN]


class Tagged(NamedTuple):
    """A tagged photograph with a mask of the line."""

    record: ImageRecord
    quality: float  # expected mIoU; NaN where it was not rated
    empty: bool  # background and void alone


def tagged_masks(masks: MaskColumns, dataset: Dataset) -> dict[str, Tagged]:
    """Tagged photographs with a mask of the line by id; masks that a person drew are left out."""
    tagged = {}
    for record in dataset.training:
        image_id = record.image_id
        if record.tags and masks.source.get(image_id, HUMAN) != HUMAN:
            empty = not np.any(masks.area[image_id][1:])
            tagged[image_id] = Tagged(record, masks.quality.get(image_id, float("nan")), empty)
    return tagged


def choose(
    tagged: Mapping[str, Tagged], each: Mapping[str, Mapping[str, float]], count: int
) -> list[tuple[ImageRecord, str]]:
    """The empty masks, then the worst, median and best by quality, and by mIoU where there is a true mask.

    An empty mask stands in front: it has no part in the order by quality.
    """
    empty = [image_id for image_id, item in tagged.items() if item.empty]
    quality = {image_id: item.quality for image_id, item in tagged.items() if not item.empty}
    masks = read_wiring().masks.meta.scores.name
    miou = {image_id: each[image_id][masks] for image_id in tagged if masks in each.get(image_id, {})}
    chosen = [(tagged[image_id].record, "shows none of its tags") for image_id in empty[:count]]
    for name, values in (("quality", quality), ("mIoU", miou)):
        known = [image_id for image_id, value in values.items() if np.isfinite(value)]
        order = sorted(known, key=lambda image_id: (values[image_id], image_id))
        middle = max(0, (len(order) - count) // 2)
        for word, ids in (
            ("worst", order[:count]),
            ("median", order[middle : middle + count]),
            ("best", order[::-1][:count]),
        ):
            chosen += [(tagged[image_id].record, f"{word} by {name}") for image_id in (ids if count else [])]
    return chosen


def gallery_item(
    scorer: Scorer,
    dataset: Dataset,
    record: ImageRecord,
    why: str,
    each: Mapping[str, Mapping[str, float]],
    *,
    quality: float,
) -> GalleryItem:
    """A photograph with its heat, masks, prediction and, if it was scored, truth; and its figures. `quality` may be NaN."""
    photograph = record.photograph()
    names = dataset.classes.with_background
    tiles = [Tile("photograph", "photograph", photograph)]
    for stage, row in scorer.rows_of(scorer.maps, record):
        if stage.meta.scores.cut:
            maps = scores_at_size(row[stage.meta.scores.column], photograph.shape[:2])
            heats = zip(row["class_ids"], maps, strict=True)
            tiles += [Tile(f"{stage.word} {names[k]}", "heat", np.clip(m, 0, 1)) for k, m in heats]
    masks = scorer.masks_of(record, photograph)
    own = [stage for stage in (*scorer.maps, *scorer.masks) if stage.meta.scores.name in masks]
    tiles += [Tile(s.meta.scores.cut or s.word, "mask", masks[s.meta.scores.name]) for s in own]
    if record.image_id in each:
        tiles.append(Tile("truth", "mask", true_mask(record, dataset)))
    wiring = read_wiring()
    if wiring.model.meta.scores.name in masks:
        tiles.append(Tile("prediction", "mask", masks[wiring.model.meta.scores.name]))
    row = scorer.rows[wiring.masks.noun][record.image_id]
    figures = {"quality": quality} if np.isfinite(quality) else {}
    figures["mean confidence"] = float(row["mean_confidence"])
    references = {stage.meta.scores.name for stage in scored_stages() if stage.meta.scores.reference}
    figures |= {f"mIoU {k}": value for k, value in each.get(record.image_id, {}).items() if k not in references}
    return GalleryItem(record.image_id, why, photograph, tiles, figures)
