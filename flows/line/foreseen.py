"""Outputs as a run will leave them, where the store has what the run would make: their keys below can be told beforehand.

A folder for each output, with what keys are made of: the states of rows, a network with its passport, thresholds.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.rows.header import STATE_COLUMNS
from labelfactory.rows.kept import KeptRows
from labelfactory.rows.plan import RowSpec, ShardPlan
from labelfactory.rows.shards import RowState, ShardFolder, row_key
from labelfactory.stage.per_image import PerImageStage


class Foreseen:
    """What is known of the outputs after a run.

    Args:
        folder: an empty one, for what is written meanwhile.

    Attributes:
        folders: noun → where it stands, of the outputs that will change.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.folders: dict[str, Path] = {}

    def add_rows(self, stage: PerImageStage[Any], plans: Iterable[ShardPlan]) -> Iterator[ShardPlan]:
        """Give the plans of a stage of rows; note the rows that it finds in the store. Those that it computes are left out."""
        spec, present = stage.row_spec(), ShardFolder(stage.output)
        kept, target = spec.kept_rows(), ShardFolder(self._folder / stage.writes)
        for plan in plans:
            yield plan
            target.folder.mkdir(exist_ok=True)
            if plan.changed:
                _write_states(target.path(plan.shard), spec, _states(plan, kept, present))
            else:
                target.path(plan.shard).symlink_to(present.path(plan.shard).absolute())
            if plan.kept:
                self.folders[stage.writes] = target.folder


def _states(plan: ShardPlan, kept: KeptRows, present: ShardFolder) -> Iterator[RowState]:
    before, digests = present.states(plan.shard), kept.digests(plan.shard)
    pending, found = ({r.image_id for r in records} for records in (plan.pending, plan.kept))
    for record in plan.records:
        name = record.image_id
        if name in found:
            key = row_key(plan.inputs[name])
            yield RowState(name, key, digests[name, key], "ok", "")
        elif name in plan.blocked:
            yield RowState(name, "", "", "quarantined", plan.blocked[name])
        elif name not in pending:
            yield before[name]


def _write_states(path: Path, spec: RowSpec, states: Iterable[RowState]) -> None:
    schema = spec.schema()
    wanted = pa.schema([schema.field(name) for name in STATE_COLUMNS], metadata=schema.metadata)
    pq.write_table(pa.Table.from_pylist([state.__dict__ for state in states], schema=wanted), path)
