"""The gallery of the report: which photographs it shows, and their pictures. Masks are decoded for those alone."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from labelfactory.dataset.corrections import HUMAN
from labelfactory.dataset.prepared import Dataset, ImageRecord
from labelfactory.dataset.truth import true_mask
from labelfactory.rows.reader import RowReader
from labelfactory.settings.wiring import read_wiring
from models.seeds import scores_at_size
from reporting.content import GalleryItem, Tile
from stages._scoring import Scorer, scored_stages

MASKS = ("agreement", "area", "source")
"""Columns of the masks that the gallery is chosen by."""


class MaskColumns:
    """The columns of the masks that the gallery is chosen by, without their pixels: image_id → value."""

    def __init__(self, rows: RowReader) -> None:
        self.agreement, self.area, self.source = (rows.values(name) for name in MASKS)

    @property
    def drawn(self) -> list[str]:
        """Images whose mask a person drew."""
        return [image_id for image_id, source in self.source.items() if source == HUMAN]


class Tagged(NamedTuple):
    """A tagged photograph with a mask of the line."""

    record: ImageRecord
    agreement: float  # of walk and CRF
    empty: bool  # background and void alone


def tagged_masks(masks: MaskColumns, dataset: Dataset) -> dict[str, Tagged]:
    """Tagged photographs with a mask of the line by id; masks that a person drew are left out."""
    tagged = {}
    for record in dataset.training:
        image_id = record.image_id
        if record.tags and masks.source.get(image_id, HUMAN) != HUMAN:
            empty = not np.any(masks.area[image_id][1:])
            tagged[image_id] = Tagged(record, float(masks.agreement[image_id]), empty)
    return tagged


def choose(
    tagged: Mapping[str, Tagged], each: Mapping[str, Mapping[str, float]], count: int
) -> list[tuple[ImageRecord, str]]:
    """The empty masks, the best, median and worst by agreement of walk and CRF, and by mIoU where there is a true mask.

    On an empty mask walk and CRF agree perfectly: it has no part in that order.
    """
    empty = [image_id for image_id, item in tagged.items() if item.empty]
    agreement = {image_id: item.agreement for image_id, item in tagged.items() if not item.empty}
    masks = read_wiring().masks.meta.scores.name
    miou = {image_id: each[image_id][masks] for image_id in tagged if masks in each.get(image_id, {})}
    chosen = [(tagged[image_id].record, "shows none of its tags") for image_id in empty[:count]]
    for name, values in (("agreement", agreement), ("mIoU", {k: v for k, v in miou.items() if np.isfinite(v)})):
        order = sorted(values, key=lambda image_id: (-values[image_id], image_id))
        middle = max(0, (len(order) - count) // 2)
        for word, ids in (
            ("best", order[:count]),
            ("median", order[middle : middle + count]),
            ("worst", order[-count:]),
        ):
            chosen += [(tagged[image_id].record, f"{word} by {name}") for image_id in (ids if count else [])]
    return chosen


def gallery_item(
    scorer: Scorer, dataset: Dataset, record: ImageRecord, why: str, each: Mapping[str, Mapping[str, float]]
) -> GalleryItem:
    """A photograph with its heat, masks, prediction and, if it was scored, truth; and its figures."""
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
    figures = {"agreement": float(row["agreement"]), "mean confidence": float(row["mean_confidence"])}
    references = {stage.meta.scores.name for stage in scored_stages() if stage.meta.scores.reference}
    figures |= {f"mIoU {k}": value for k, value in each.get(record.image_id, {}).items() if k not in references}
    return GalleryItem(record.image_id, why, photograph, tiles, figures)
