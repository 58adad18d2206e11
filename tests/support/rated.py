"""Rows of quality as `rate_masks` would have left them, for the masks that are on disk."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.settings.wiring import DATA
from stages.rate_masks import AREAS, RateMasks


def rate(
    records: Collection[ImageRecord],
    classes: Sequence[str],
    quality: Mapping[str, float],
    of_classes: Mapping[str, Mapping[int, float]] | None = None,
) -> None:
    """Write the quality of masks.

    Args:
        records: photographs of the data set.
        classes: its classes.
        quality: image_id → quality of its mask.
        of_classes: image_id → class id → expected IoU; by default the quality, of the background.
    """
    masks, folder = RowReader(DATA / "masks"), ShardFolder(DATA / "quality")
    folder.folder.mkdir(parents=True, exist_ok=True)
    schema = shard_schema("rate_masks", RateMasks.columns, classes)
    for shard in {record.shard for record in records}:
        rows = []
        for record in (r for r in records if r.shard == shard and r.image_id in quality):
            image_id = record.image_id
            ious = (of_classes or {}).get(image_id, {0: quality[image_id]})
            values = np.array(list(ious.values()), dtype=np.float32)
            row = {
                "quality": quality[image_id],
                "class_ids": np.array(list(ious), dtype=np.uint8),
                "expected_iou": values,
                **dict.fromkeys(AREAS, values),
                "mask_digest": masks.states[image_id].digest,
            }
            made_of = {"made": "by a test", "image": record.sha256, "classes": list(classes)}
            rows.append(finish(image_id, made_of, row, RateMasks.columns))
        folder.write(shard, rows_table(rows, schema))
