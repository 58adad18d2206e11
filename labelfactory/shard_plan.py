"""What has to be done in each shard of a per-image stage: keys as they are on disk against keys as they should be."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from labelfactory.dataset import ImageRecord
from labelfactory.errors import DataError, MissingError
from labelfactory.progress import say
from labelfactory.shards import ROW_FORMAT, RowState, ShardFolder, row_key, shard_schema

if TYPE_CHECKING:
    from labelfactory.per_image import PerImageStage


@dataclass
class ShardPlan:
    """What has to be done in one shard."""

    shard: int
    records: list[ImageRecord]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    pending: list[ImageRecord] = field(default_factory=list)
    given: set[str] = field(default_factory=set)
    """Images whose row a person gave."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Images that an earlier stage quarantined: image_id → reason."""
    changed: bool = False


def plan_shards(stage: "PerImageStage[Any]", only: Collection[int] | None = None) -> list[ShardPlan]:
    """Compare every row's key with the one on disk. No payload is decoded; a damaged shard of our own is made again.

    Args:
        stage: whose shards.
        only: numbers of the shards to look at; None for all.
    """
    shards: dict[int, list[ImageRecord]] = defaultdict(list)
    for record in stage.dataset.training:
        if only is None or record.shard in only:
            shards[record.shard].append(record)
    upstream = {noun: ShardFolder(stage.folder(noun)) for noun in stage.reads_rows}
    own = ShardFolder(stage.output)
    always = {
        "stage": stage.stage_name(),
        "format": ROW_FORMAT,
        "code": stage.code_digest,
        "classes": list(stage.dataset.classes.names),
    }
    made = {"params": stage.cfg.digest(), **stage.fixed()}
    schema = schema_of(stage)
    return [
        _plan_shard(shard, records, _states_or_none(own, shard, schema), upstream, always, made, stage.given)
        for shard, records in sorted(shards.items())
    ]


def schema_of(stage: "PerImageStage[Any]") -> pa.Schema:
    """Parquet schema of a stage's shards."""
    return shard_schema(stage.stage_name(), stage.columns, stage.dataset.classes.names)


def _plan_shard(
    shard: int,
    records: list[ImageRecord],
    before: Mapping[str, RowState],
    upstream: Mapping[str, ShardFolder],
    always: Mapping[str, Any],
    made: Mapping[str, Any],
    given: Callable[[ImageRecord], Mapping[str, str] | None],
) -> ShardPlan:
    plan = ShardPlan(shard, records)
    above = {noun: folder.states(shard) for noun, folder in upstream.items()}
    for record in records:
        inputs: dict[str, Any] = {**always, "image": record.sha256, "tags": list(record.tags)}
        from_a_person = given(record)
        if from_a_person is not None:
            plan.given.add(record.image_id)
        inputs |= made if from_a_person is None else from_a_person
        for noun, states in above.items() if from_a_person is None else ():
            state = _upstream_state(noun, states, record)
            inputs[noun] = state.digest
            if state.status != "ok":
                plan.blocked[record.image_id] = f"{noun}: {state.reason}"
        plan.inputs[record.image_id] = inputs
        old = before.get(record.image_id)
        current = old is not None and old.key == row_key(inputs)
        if record.image_id in plan.blocked:
            plan.changed |= not (current and old is not None and old.reason == plan.blocked[record.image_id])
        elif not (current and old is not None and old.status == "ok"):
            plan.pending.append(record)
    plan.changed |= bool(plan.pending) or list(before) != [r.image_id for r in records]
    return plan


def _upstream_state(noun: str, states: Mapping[str, RowState], record: ImageRecord) -> RowState:
    if record.image_id not in states:
        raise MissingError(f"data/{noun}: has no row for the image {record.image_id}", "Type `dvc repro`.")
    return states[record.image_id]


def _states_or_none(folder: ShardFolder, shard: int, schema: pa.Schema) -> dict[str, RowState]:
    """A damaged shard of our own is no more than a shard to be made again."""
    try:
        return folder.own_states(shard, schema)
    except DataError as error:
        say(f"{error.problem}: made again")
        return {}
