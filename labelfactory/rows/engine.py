"""Brings the shards of a per-image stage up to date: plan, compute what changed, copy the rest, write.

On the CPU the images of a shard are spread over processes of one thread each, so that a result does not depend on how many
there are. On a GPU one process feeds the device, in batches.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from labelfactory.console import say
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.errors import DataError
from labelfactory.files import remove_leftovers
from labelfactory.progress import Tick, progress
from labelfactory.rows.batches import RowMaker, Runner, runner
from labelfactory.rows.kept import KeptRows
from labelfactory.rows.plan import OpenShard, RowSpec, open_shards, plan_shards
from labelfactory.rows.shards import FinishedRow, Row, Sample, ShardFolder, quarantine, row_key, rows_table
from labelfactory.rows.unfinished import UnfinishedShard, remove_unfinished
from labelfactory.store.entries import STORE

COPIES = 2
"""Copies of a row on the disk: the second is in DVC's cache."""


@dataclass
class Tally:
    """Counts of one run of the engine: rows that it made, left as they are, and found in the store."""

    rows_computed: int = 0
    rows_copied: int = 0
    rows_quarantined: int = 0
    shards_written: int = 0
    shards_removed: int = 0
    rows_found: int = 0


def update_shards(
    spec: RowSpec,
    maker: RowMaker,
    remake: tuple[Callable[..., RowMaker], tuple[Any, ...]],
    only: Collection[int] | None,
) -> Tally:
    """Compute pending rows, copy the others, write the shards that changed, remove those without images.

    Args:
        spec: whose shards.
        maker: makes the rows in this process.
        remake: a function at the top of a module, and its arguments: makes the maker in another process.
        only: numbers of the shards to update, where other processes update the rest; then nothing is removed.

    Raises:
        DataError: more images than `prepare.max_bad_fraction` allows could not be processed.
    """
    tally = Tally()
    folder = ShardFolder(spec.output)
    total = spec.dataset.total
    if only is None:
        remove_leftovers(spec.output)
        for removed in set(folder.shards()) - set(spec.dataset.counts):
            folder.check_file(removed)
            folder.path(removed).unlink()
            tally.shards_removed += 1
    changed, found_again = _survey(spec, only, tally)
    pending = sum(changed.values())
    if not pending and not found_again:
        say(f"{spec.stage}: every row is up to date")
    bad_allowed = int(spec.dataset.max_bad_fraction * total)
    schema, kept = spec.schema(), spec.kept_rows()
    bad: list[FinishedRow] = []
    compression = spec.dataset.compression
    with runner(spec, maker, remake, pending) as run, progress(spec.stage, pending, keeps=True) as tick:
        for shard in open_shards(spec, changed, kept):
            unfinished = UnfinishedShard(folder, shard.plan.shard, schema, compression)
            taken_up = unfinished.take_up(
                {r.image_id: row_key(shard.plan.inputs[r.image_id]) for r in shard.plan.pending}
            )
            shard.plan.pending = [r for r in shard.plan.pending if r.image_id not in taken_up]
            tick(len(taken_up))
            computed = _compute(spec, maker, shard, run, tick, unfinished)
            bad += [row for row in computed.values() if row.status != "ok"]
            tally.rows_quarantined += sum(row.status != "ok" for row in computed.values())
            tally.rows_computed += sum(row.status == "ok" for row in computed.values())
            _write(folder, shard, shard.found | taken_up | computed, schema, compression, kept)
            tally.rows_copied += len(shard.plan.records) - len(computed) - len(shard.found)
            tally.rows_found += len(shard.found)
            tally.shards_written += 1
            unfinished.remove()
            if tally.rows_quarantined > bad_allowed and bad:
                raise DataError(_too_many(spec.stage, tally.rows_quarantined, total, bad), _REMEDY)
    if only is None:
        remove_unfinished(spec.output)
    if tally.rows_found:
        say(f"{spec.stage}: {tally.rows_found} rows were made before, and found again in {STORE}")
    return tally


def _survey(spec: RowSpec, only: Collection[int] | None, tally: Tally) -> tuple[dict[int, int], int]:
    """Plan all shards and count the rows of those without work.

    Returns:
        The others, shard → number of pending rows, and how many rows the store has.
    """
    changed, kept = {}, 0
    for plan in plan_shards(spec, only):
        if plan.changed:
            changed[plan.shard] = len(plan.pending)
            kept += len(plan.kept)
        else:
            tally.rows_quarantined += len(plan.blocked)
            tally.rows_copied += len(plan.records) - len(plan.blocked)
    return changed, kept


_REMEDY = "Mend or remove these images, or raise prepare.max_bad_fraction; finished rows are kept."


def _too_many(name: str, count: int, total: int, bad: Sequence[FinishedRow]) -> str:
    lines = "\n".join(f"  {row.image_id}: {row.reason}" for row in bad)
    return f"{name}: {count} of {total} images could not be processed\n{lines}"


def _compute(
    spec: RowSpec, maker: RowMaker, shard: OpenShard, run: Runner, tick: Tick, unfinished: UnfinishedShard
) -> dict[str, FinishedRow]:
    plan = shard.plan
    upstream = _upstream_rows(spec, shard)
    groups: dict[Hashable, list[ImageRecord]] = defaultdict(list)
    for record in plan.pending:
        groups[maker.group(record)].append(record)
    tasks = []
    for members in groups.values():
        for start in range(0, len(members), maker.batch_size):
            batch = members[start : start + maker.batch_size]
            samples = [Sample(r, _rows_of(r, upstream)) for r in batch]
            tasks.append((samples, [plan.inputs[r.image_id] for r in batch]))
    finished = {}
    try:
        for rows in run(tasks):
            finished.update({row.image_id: row for row in rows})
            unfinished.add(rows)
            tick(len(rows), size=COPIES * sum(_stored_size(row) for row in rows))
    except KeyboardInterrupt:
        unfinished.write()
        raise
    for image_id, reason in plan.blocked.items():
        finished[image_id] = quarantine(image_id, plan.inputs[image_id], reason, spec.columns)
    return finished


def _upstream_rows(spec: RowSpec, shard: OpenShard) -> dict[str, dict[str, Row]]:
    """The rows that pending rows are made from: noun → image_id → row."""
    ids = [r.image_id for r in shard.plan.pending if r.image_id not in shard.plan.given]
    upstream = {}
    for noun, path in spec.upstream.items() if ids else ():
        folder = ShardFolder(path)
        table = shard.upstream.get(noun)
        upstream[noun] = (
            folder.rows(shard.plan.shard, ids) if table is None else folder.rows_in(shard.plan.shard, table, ids)
        )
    shard.upstream.clear()  # decoded; not held twice while the shard is computed
    return upstream


def _rows_of(record: ImageRecord, upstream: Mapping[str, Mapping[str, Row]]) -> dict[str, Row]:
    """The upstream rows of an image; none where a person gave its row."""
    return {noun: rows[record.image_id] for noun, rows in upstream.items() if record.image_id in rows}


def _write(
    folder: ShardFolder,
    shard: OpenShard,
    computed: Mapping[str, FinishedRow],
    schema: pa.Schema,
    compression: str,
    kept: KeptRows,
) -> None:
    """Put copied and other rows into the data set's order and write the shard; it and the one that it replaces are kept."""
    plan, before = shard.plan, shard.before
    order = [r.image_id for r in plan.records]
    copied = [image_id for image_id in order if image_id not in computed]
    tables = [rows_table([computed[i] for i in order if i in computed], schema)]
    names = [i for i in order if i in computed]
    if before is not None and copied:
        position = {image_id: i for i, image_id in enumerate(before.column("image_id").to_pylist())}
        tables.append(before.take([position[i] for i in copied]).replace_schema_metadata(schema.metadata))
        names += copied
    rank = {image_id: i for i, image_id in enumerate(names)}
    table = pa.concat_tables(tables).take([rank[i] for i in order])
    if before is not None:
        kept.keep(plan.shard, folder.path(plan.shard), before, replaced=True)
    folder.write(plan.shard, table, compression)
    kept.keep(plan.shard, folder.path(plan.shard), table)


def _stored_size(row: FinishedRow) -> int:
    """Approximate size of a row on the disk, bytes."""
    parts = [value for stored in row.payload.values() if isinstance(stored, dict) for value in stored.values()]
    large = (value for value in parts if isinstance(value, bytes))
    return sum(len(pa.compress(value, codec="zstd", asbytes=True)) for value in large) + len(row.inputs) // 2
