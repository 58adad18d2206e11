"""What has to be done in each shard of a per-image stage: keys as they are on disk against keys as they should be."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelfactory.console import say
from labelfactory.dataset.prepared import ImageRecord, ShardedDataset
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, MissingError, NewerFormatError
from labelfactory.rows.columns import Column
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import RowState, ShardFolder, row_key

Inputs = dict[str, Any]
"""Everything that a row depends on, by name."""


@dataclass(frozen=True)
class RowSpec:
    """What the engine needs to know of a per-image stage to plan and store its rows."""

    stage: str
    output: Path
    columns: Mapping[str, Column]
    dataset: ShardedDataset
    upstream: Mapping[str, Path]
    """Folders of the per-image outputs that its rows are made of, by noun."""
    shared: Mapping[str, Any]
    """Inputs of every row: stage, format, code, classes."""
    computed: Mapping[str, Any]
    """Inputs of every row that the stage computes: params, checkpoints, thresholds."""
    given: Callable[[ImageRecord], Mapping[str, str] | None]
    """Digests of what a person gave in place of an image's row; None where the stage computes it."""

    def schema(self) -> pa.Schema:
        """Parquet schema of its shards."""
        return shard_schema(self.stage, self.columns, self.dataset.classes.names)


@dataclass
class ShardPlan:
    """What has to be done in one shard."""

    shard: int
    records: list[ImageRecord]
    inputs: dict[str, Inputs] = field(default_factory=dict)
    """What the keys of rows are made of that are not to be copied: image_id → inputs."""
    pending: list[ImageRecord] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    """Images whose row a person gave."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Images that an earlier stage quarantined: image_id → reason."""
    changed: bool = False


class KeyMaker:
    """Keys of a stage's rows. What all rows share is turned into JSON once: a plan looks at every row there is.

    Args:
        fixed: the inputs that all rows share.
        above: nouns of the per-image outputs that the stage reads.
    """

    def __init__(self, fixed: Mapping[str, Any], above: Iterable[str]) -> None:
        self._fixed, self._above = dict(fixed), tuple(above)
        names = sorted({*fixed, "image", "tags", *self._above})
        own = {name: _json(value) for name, value in fixed.items() if name not in ("image", "tags", *self._above)}
        self._parts = [(f"{_json(name)}:", name, own.get(name)) for name in names]

    def inputs(self, record: ImageRecord, digests: Mapping[str, str]) -> dict[str, Any]:
        """Everything that a row depends on, by name. `digests`: of the rows that it reads, by noun."""
        return {**self._fixed, "image": record.sha256, "tags": list(record.tags), **digests}

    def key(self, record: ImageRecord, digests: Mapping[str, str]) -> str:
        """`row_key` of these inputs, without making them."""
        own = {"image": _json(record.sha256), "tags": _json(record.tags)}
        own |= {noun: _json(digest) for noun, digest in digests.items()}
        text = ",".join(head + (own[name] if shared is None else shared) for head, name, shared in self._parts)
        return digest_bytes(f"{{{text}}}".encode())


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plan_shards(spec: RowSpec, only: Collection[int] | None = None, *, tolerant: bool = False) -> Iterator[ShardPlan]:
    """Compare every row's key with the one on disk, a shard at a time. No payload is decoded; a damaged shard of our own
    is made again.

    Args:
        spec: whose shards.
        only: numbers of the shards to look at; None for all.
        tolerant: whether a row may be missing above, as before a run: then its image is pending.
    """
    upstream = {noun: ShardFolder(folder) for noun, folder in spec.upstream.items()}
    own = ShardFolder(spec.output)
    keys = KeyMaker({**spec.shared, **spec.computed}, upstream)
    schema = spec.schema()

    def given(record: ImageRecord) -> Inputs | None:
        from_a_person = spec.given(record)
        if from_a_person is None:
            return None
        return {**spec.shared, "image": record.sha256, "tags": list(record.tags), **from_a_person}

    for shard in spec.dataset.counts:
        if only is None or shard in only:
            before, well_stored = _states_or_none(own, shard, schema, spec.dataset.compression)
            plan = _plan_shard(shard, spec.dataset.records(shard), before, upstream, keys, given, tolerant)
            plan.changed |= not well_stored
            yield plan


def _plan_shard(
    shard: int,
    records: list[ImageRecord],
    before: Mapping[str, RowState],
    upstream: Mapping[str, ShardFolder],
    keys: KeyMaker,
    given: Callable[[ImageRecord], Inputs | None],
    tolerant: bool,
) -> ShardPlan:
    plan = ShardPlan(shard, records)
    above = {noun: folder.states(shard) for noun, folder in upstream.items()}
    for record in records:
        name, digests = record.image_id, {}
        from_a_person = given(record)
        if from_a_person is not None:
            plan.given.add(name)
        for noun, states in above.items() if from_a_person is None else ():
            if tolerant and name not in states:
                digests[noun] = ""
                continue
            state = _upstream_state(noun, states, record)
            digests[noun] = state.digest
            if state.status != "ok":
                plan.blocked[name] = f"{noun}: {state.reason}"
        old = before.get(name)
        key = keys.key(record, digests) if from_a_person is None else row_key(from_a_person)
        current = old is not None and old.key == key
        if name in plan.blocked:
            plan.changed |= not (current and old is not None and old.reason == plan.blocked[name])
        elif not (current and old is not None and old.status == "ok"):
            plan.pending.append(record)
        else:
            continue
        plan.inputs[name] = keys.inputs(record, digests) if from_a_person is None else from_a_person
    plan.changed |= bool(plan.pending) or list(before) != [r.image_id for r in records]
    return plan


def _upstream_state(noun: str, states: Mapping[str, RowState], record: ImageRecord) -> RowState:
    if record.image_id not in states:
        raise MissingError(f"data/{noun}: has no row for the image {record.image_id}", "Type `dvc repro`.")
    return states[record.image_id]


def _states_or_none(
    folder: ShardFolder, shard: int, schema: pa.Schema, compression: str
) -> tuple[dict[str, RowState], bool]:
    """A damaged shard of our own, or one of an older format, is no more than a shard to be made again."""
    try:
        return folder.own_states(shard, schema, compression)
    except NewerFormatError:
        raise
    except DataError as error:
        say(f"{error.problem}: made again")
        return {}, True
