"""The plan of each shard of a per-image stage: keys on disk are compared with keys as they should be."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.dataset.prepared import ImageRecord, ShardedDataset
from labelfactory.errors import MissingError
from labelfactory.rows.columns import Column
from labelfactory.rows.header import shard_schema
from labelfactory.rows.kept import KeptRows
from labelfactory.rows.keys import KeyMaker
from labelfactory.rows.own_shard import OwnShard
from labelfactory.rows.shards import FinishedRow, RowState, ShardFolder, row_key

Inputs = dict[str, Any]
"""Everything that a row depends on, by name."""


@dataclass(frozen=True)
class RowSpec:
    """All that the engine needs of a per-image stage to plan and store its rows."""

    stage: str
    output: Path
    columns: Mapping[str, Column]
    dataset: ShardedDataset
    upstream: Mapping[str, Path]
    """Folders of the per-image outputs that its rows are made from, by noun."""
    shared: Mapping[str, Any]
    """Inputs of every row: stage, format, code, classes."""
    computed: Mapping[str, Any]
    """Inputs of every row that the stage computes: params, checkpoints, thresholds."""
    given: Callable[[ImageRecord], Mapping[str, str] | None]
    """Digests of a person's row for an image; None where the stage computes it."""

    def schema(self) -> pa.Schema:
        """Parquet schema of its shards."""
        return shard_schema(self.stage, self.columns, self.dataset.classes.names)

    def kept_rows(self) -> KeptRows:
        """Its rows in the store."""
        return KeptRows(self.output.name, self.schema(), self.dataset.compression)


@dataclass
class ShardPlan:
    """The work in one shard."""

    shard: int
    records: list[ImageRecord]
    inputs: dict[str, Inputs] = field(default_factory=dict)
    """Inputs of the rows that are not copied: image_id → inputs."""
    pending: list[ImageRecord] = field(default_factory=list)
    kept: list[ImageRecord] = field(default_factory=list)
    """Images whose row the stage made before: it is in the store."""
    given: set[str] = field(default_factory=set)
    """Images whose row the stage's `given` names."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Images that an earlier stage quarantined: image_id → reason."""
    changed: bool = False


def plan_shards(spec: RowSpec, only: Collection[int] | None = None, *, tolerant: bool = False) -> Iterator[ShardPlan]:
    """Compare every row's key with the one on disk, a shard at a time. Only states are read, and the payload of a shard
    without work, to find damage there too. A damaged shard of the stage's own is made again.

    Args:
        spec: whose shards.
        only: numbers of the shards to plan; None for all.
        tolerant: whether an upstream row may be missing, as before a run; its image is then pending.
    """
    planner = _Planner(spec, tolerant=tolerant, kept=spec.kept_rows())
    for shard in spec.dataset.counts:
        if only is None or shard in only:
            upstream = {noun: folder.states(shard) for noun, folder in planner.upstream.items()}
            with planner.own_shard(shard) as own:
                plan = planner.plan(shard, own.states(), upstream)
                plan.changed |= not own.well_stored
                intact = plan.changed or own.is_intact()
            yield plan if intact else planner.plan(shard, {}, upstream)


@dataclass
class OpenShard:
    """A shard to be written: its plan, and the tables that were read for it."""

    plan: ShardPlan
    before: pa.Table | None
    """The shard on disk; None where there is none or it is damaged."""
    upstream: dict[str, pa.Table]
    """Whole tables of the upstream shards, by noun; empty where no row is pending."""
    found: dict[str, FinishedRow]
    """Rows from the store: image_id → row."""


def open_shards(spec: RowSpec, pending: Mapping[int, int], kept: KeptRows) -> Iterator[OpenShard]:
    """Read the shards that have work, and plan them again: all plans at once would need memory for every image. Each file
    is read once. A row of the store that turns out to be damaged is pending.

    Args:
        spec: whose shards.
        pending: shard → number of its pending rows, by `plan_shards`.
        kept: the stage's rows in the store.
    """
    planner = _Planner(spec, tolerant=False, kept=kept)
    for shard in sorted(pending):
        whole = _tables(planner.upstream, shard) if pending[shard] else {}
        upstream = {
            noun: folder.states_in(shard, whole[noun]) if noun in whole else folder.states(shard)
            for noun, folder in planner.upstream.items()
        }
        with planner.own_shard(shard) as own:
            before = own.table()
            plan = planner.plan(shard, own.states(), upstream)
            plan.changed |= not own.well_stored
        found = kept.rows(shard, {r.image_id: row_key(plan.inputs[r.image_id]) for r in plan.kept})
        waiting = {r.image_id for r in (*plan.pending, *plan.kept)} - found.keys()
        plan.pending = [record for record in plan.records if record.image_id in waiting]
        yield OpenShard(plan, before, whole, found)


def _tables(upstream: Mapping[str, ShardFolder], shard: int) -> dict[str, pa.Table]:
    """The upstream tables of a shard, by noun; those that are on disk."""
    tables = {noun: folder.table(shard) for noun, folder in upstream.items()}
    return {noun: table for noun, table in tables.items() if table is not None}


class _Planner:
    """Plans the shards of one stage."""

    def __init__(self, spec: RowSpec, *, tolerant: bool, kept: KeptRows) -> None:
        self.spec, self.tolerant, self.kept = spec, tolerant, kept
        self.upstream = {noun: ShardFolder(folder) for noun, folder in spec.upstream.items()}
        self._own, self._schema = ShardFolder(spec.output), spec.schema()
        self._keys = KeyMaker({**spec.shared, **spec.computed}, self.upstream)

    def own_shard(self, shard: int) -> OwnShard:
        """The shard on disk."""
        return OwnShard(self._own, shard, self._schema, self.spec.dataset.compression)

    def _given(self, record: ImageRecord) -> Inputs | None:
        digests = self.spec.given(record)
        if digests is None:
            return None
        return {**self.spec.shared, "image": record.sha256, "tags": list(record.tags), **digests}

    def plan(
        self, shard: int, before: Mapping[str, RowState], upstream: Mapping[str, Mapping[str, RowState]]
    ) -> ShardPlan:
        """The plan of a shard by its rows on disk and the upstream rows (noun → image_id → state)."""
        records, keys = self.spec.dataset.records(shard), self._keys
        plan = ShardPlan(shard, records)
        for record in records:
            name, digests = record.image_id, {}
            given = self._given(record)
            if given is not None:
                plan.given.add(name)
            for noun, states in upstream.items() if given is None else ():
                if self.tolerant and name not in states:
                    digests[noun] = ""
                    continue
                state = _upstream_state(noun, states, record)
                digests[noun] = state.digest
                if state.status != "ok":
                    plan.blocked[name] = f"{noun}: {state.reason}"
            old = before.get(name)
            key = keys.key(record, digests) if given is None else row_key(given)
            current = old is not None and old.key == key
            if name in plan.blocked:
                plan.changed |= not (current and old is not None and old.reason == plan.blocked[name])
            elif not (current and old is not None and old.status == "ok"):
                (plan.kept if self.kept.has(shard, name, key) else plan.pending).append(record)
            else:
                continue
            plan.inputs[name] = keys.inputs(record, digests) if given is None else given
        plan.changed |= bool(plan.pending or plan.kept) or list(before) != [r.image_id for r in records]
        return plan


def _upstream_state(noun: str, states: Mapping[str, RowState], record: ImageRecord) -> RowState:
    if record.image_id not in states:
        raise MissingError(f"data/{noun} has no row for the image {record.image_id}", "Type `dvc repro`.")
    return states[record.image_id]
