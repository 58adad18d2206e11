"""Samples in quarantine: which, where and why; and their release, so that the next run tries them again."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.dataset.prepared import IMAGES, read_dataset, write_dataset
from labelfactory.errors import DataError, did_you_mean
from labelfactory.files import remove_leftovers
from labelfactory.lock import stage_lock
from labelfactory.rows.shards import ShardFolder
from labelfactory.settings.wiring import DATA, StageWiring, read_wiring


@dataclass(frozen=True)
class SetAside:
    """One sample in quarantine: its id, the stage that put it there, and why."""

    image_id: str
    stage: str
    reason: str


def set_aside() -> list[SetAside]:
    """All samples in quarantine, each once: at the stage that quarantined it first, in the line's order."""
    return [sample for stage in read_wiring().of_kind("prepare", "rows") for sample in _of(stage)]


def let_out(image_ids: Collection[str]) -> list[SetAside]:
    """Release samples: their rows are deleted, so that their stages are stale and try them again. Other rows keep their bytes.

    Raises:
        DataError: one of them is not in quarantine.
        BusyError: such a stage is running.
    """
    samples = [sample for sample in set_aside() if sample.image_id in image_ids]
    missing = sorted(set(image_ids) - {sample.image_id for sample in samples})
    if missing:
        known = {sample.image_id for sample in set_aside()}
        raise DataError(
            f"{missing[0]!r} is not in quarantine{did_you_mean(missing[0], known)}",
            "Type `labelfactory quarantine list`.",
        )
    for stage in dict.fromkeys(sample.stage for sample in samples):
        ids = {sample.image_id for sample in samples if sample.stage == stage}
        with stage_lock(stage):
            remove_leftovers(DATA / read_wiring()[stage].noun)
            if read_wiring()[stage].meta.kind == "prepare":
                _forget_photographs(ids)
            else:
                _forget_rows(ShardFolder(DATA / read_wiring()[stage].noun), ids)
    return samples


def _of(stage: StageWiring) -> Iterator[SetAside]:
    if stage.meta.kind == "prepare":
        if IMAGES.exists():
            yield from (SetAside(r.image_id, stage.name, r.reason) for r in read_dataset().records if r.status != "ok")
        return
    folder = ShardFolder(DATA / stage.noun)
    inherited = tuple(f"{noun}: " for noun in stage.inputs)
    for shard in folder.shards():
        for state in folder.states(shard).values():
            if state.status != "ok" and not state.reason.startswith(inherited):
                yield SetAside(state.image_id, stage.name, state.reason)


def _forget_photographs(image_ids: Collection[str], path: Path = IMAGES) -> None:
    dataset = read_dataset(path)
    write_dataset(replace(dataset, records=tuple(r for r in dataset.records if r.image_id not in image_ids)), path)


def _forget_rows(folder: ShardFolder, image_ids: Collection[str]) -> None:
    compression = read_dataset().compression
    for shard in folder.shards():
        if image_ids & folder.states(shard).keys():
            table = folder.table(shard)
            if table is not None:
                kept = pc.invert(pc.is_in(table["image_id"], value_set=pa.array(sorted(image_ids), pa.string())))
                folder.write(shard, table.filter(kept), compression)
