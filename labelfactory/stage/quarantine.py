"""Samples in quarantine: which, where and why; and how to let them out, so that the next run tries them again."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.dataset.prepared import IMAGES, read_dataset, write_dataset
from labelfactory.errors import DataError, did_you_mean
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.base import DATA
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import stage_class

LOOKS_FIRST = "prepare"
"""The stage that sets photographs aside before any other sees them."""


@dataclass(frozen=True)
class SetAside:
    """One sample in quarantine: its id, the stage that put it there, and why."""

    image_id: str
    stage: str
    reason: str


def set_aside() -> list[SetAside]:
    """All samples in quarantine, each once: at the stage where it began, in the line's order."""
    return [found for stage in _stages() for found in _of(stage)]


def let_out(image_ids: Collection[str]) -> list[SetAside]:
    """Forget the verdict on these samples: their rows go, so their stages are stale and try them again.

    Nothing else is touched: other rows keep their bytes.

    Raises:
        DataError: one of them is not in quarantine.
    """
    found = [item for item in set_aside() if item.image_id in image_ids]
    missing = sorted(set(image_ids) - {item.image_id for item in found})
    if missing:
        known = {item.image_id for item in set_aside()}
        raise DataError(
            f"{missing[0]!r} is not in quarantine{did_you_mean(missing[0], known)}",
            "Type `labelfactory quarantine list`.",
        )
    for stage in dict.fromkeys(item.stage for item in found):
        ids = {item.image_id for item in found if item.stage == stage}
        _forget_photographs(ids) if stage == LOOKS_FIRST else _forget_rows(_kind(stage), ids)
    return found


def _stages() -> list[str]:
    return [name for name in read_wiring() if name == LOOKS_FIRST or issubclass(stage_class(name), PerImageStage)]


def _kind(stage: str) -> type[PerImageStage[Any]]:
    kind = stage_class(stage)
    if not issubclass(kind, PerImageStage):
        raise LookupError(f"{stage} makes no rows")
    return kind


def _of(stage: str) -> Iterator[SetAside]:
    if stage == LOOKS_FIRST:
        if IMAGES.exists():
            yield from (SetAside(r.image_id, stage, r.reason) for r in read_dataset().records if r.status != "ok")
        return
    kind = _kind(stage)
    folder = ShardFolder(DATA / kind.writes)
    inherited = tuple(f"{noun}: " for noun in kind.reads_rows)
    for shard in folder.shards():
        for state in folder.states(shard).values():
            if state.status != "ok" and not (inherited and state.reason.startswith(inherited)):
                yield SetAside(state.image_id, stage, state.reason)


def _forget_photographs(image_ids: Collection[str], path: Path = IMAGES) -> None:
    dataset = read_dataset(path)
    write_dataset(replace(dataset, records=tuple(r for r in dataset.records if r.image_id not in image_ids)), path)


def _forget_rows(kind: type[PerImageStage[Any]], image_ids: Collection[str]) -> None:
    folder = ShardFolder(DATA / kind.writes)
    compression = read_dataset().compression
    for shard in folder.shards():
        if image_ids & folder.states(shard).keys():
            table = folder.table(shard)
            if table is not None:
                kept = pc.invert(pc.is_in(table["image_id"], value_set=pa.array(sorted(image_ids), pa.string())))
                folder.write(shard, table.filter(kept), compression)
