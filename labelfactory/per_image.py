"""Runs a per-image stage over its shards: plan, compute what changed, copy the rest, write.

On the CPU the images of a shard are spread over processes of one thread each, so that a result does not depend on how many
there are. On a GPU one process feeds the device, in batches.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pyarrow as pa

from labelfactory.columns import Column
from labelfactory.dataset import ImageRecord, ShardedDataset
from labelfactory.devices import one_thread_each, pick_device, workers
from labelfactory.errors import DataError
from labelfactory.files import remove_leftovers
from labelfactory.params import Section
from labelfactory.pool import Submit, process_pool
from labelfactory.progress import Tick, progress, say
from labelfactory.shard_plan import ShardPlan, plan_shards, schema_of
from labelfactory.shards import FinishedRow, Row, Sample, ShardFolder, finish, quarantine, rows_table, stored_size
from labelfactory.stage import Stage, stage_class

if TYPE_CHECKING:
    import torch

COPIES = 2
"""DVC keeps what it was told to keep in its cache, too."""

C = TypeVar("C", bound=Section)
Columns = Mapping[str, Column]


class PerImageStage(Stage[C]):
    """A stage that makes one row for each image. A subclass writes `setup` and `process`, nothing else."""

    columns: ClassVar[Columns]
    """Columns of the rows that this stage writes."""
    reads_rows: ClassVar[tuple[str, ...]] = ()
    """Per-image outputs that it reads, by noun."""
    spreads = True
    uses_gpu: ClassVar[bool] = True
    """Whether the work runs on a GPU where there is one."""

    @cached_property
    def sharded(self) -> ShardedDataset:
        """The prepared data set, a shard at a time; `dataset` would hold every image of it."""
        return ShardedDataset(self.folder("dataset") / "images.parquet")

    @property
    def device(self) -> "torch.device":
        """Where the networks of this stage live."""
        import torch

        return pick_device() if self.uses_gpu else torch.device("cpu")

    def fixed(self) -> dict[str, str]:
        """Digests of what every row depends on beside its image: checkpoints, thresholds."""
        return {}

    def given(self, record: ImageRecord) -> dict[str, str] | None:
        """Digests of what a person gave in place of this image's row; None where the stage makes it.

        Such a row depends on nothing that earlier stages made, and on no parameter: it stands even where they failed.
        """
        return None

    def setup(self) -> None:
        """Load what every image needs. Called once in each process."""

    def group(self, record: ImageRecord) -> Hashable:
        """Images of the same group may be processed in one batch."""
        return record.image_id

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return 1

    def process(self, sample: Sample) -> Row:
        """Make one row. An exception puts the image into quarantine; the others go on."""
        raise NotImplementedError

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        """Make the rows of a batch."""
        return [self.process(sample) for sample in samples]

    def summary(self) -> dict[str, Any]:
        """Metrics over the finished rows, for the report."""
        return {}

    def units(self, metrics: Mapping[str, Any]) -> int:
        """Rows that were computed."""
        return int(metrics["rows_computed"])

    def run(self) -> dict[str, Any]:
        """Bring every shard up to date."""
        tally = update_shards(self)
        return {**tally.__dict__, **self.summary()}


@dataclass
class Tally:
    """What one run of the engine did."""

    rows_computed: int = 0
    rows_copied: int = 0
    rows_quarantined: int = 0
    shards_written: int = 0
    shards_removed: int = 0


def update_shards(stage: PerImageStage[Any], only: Collection[int] | None = None) -> Tally:
    """Compute pending rows, copy the others, write the shards that changed, remove those without images.

    Args:
        stage: whose shards.
        only: the shards to look at, where others work on the rest at the same time; then nothing is removed.

    Raises:
        DataError: more images than `prepare.max_bad_fraction` allows could not be processed.
    """
    tally = Tally()
    folder = ShardFolder(stage.output)
    total = stage.sharded.total
    if only is None:
        remove_leftovers(stage.output)
        for shard in set(folder.shards()) - set(stage.sharded.counts):
            folder.path(shard).unlink()
            tally.shards_removed += 1
    changed, pending = _survey(stage, only, tally)
    if not pending:
        say(f"{stage.stage_name()}: every row is up to date")
    bad_allowed = int(stage.sharded.max_bad_fraction * total)
    schema = schema_of(stage)
    bad: list[FinishedRow] = []
    with _runner(stage, pending) as run, progress(stage.stage_name(), pending) as tick:
        for plan in plan_shards(stage, changed) if changed else ():
            computed = _compute(stage, plan, run, tick)
            bad += [row for row in computed.values() if row.status != "ok"]
            tally.rows_quarantined += sum(row.status != "ok" for row in computed.values())
            _write(folder, plan, computed, schema, stage.sharded.compression, tally)
            if tally.rows_quarantined > bad_allowed and bad:
                raise DataError(_too_many(stage.stage_name(), tally.rows_quarantined, total, bad), _REMEDY)
    return tally


def _survey(stage: PerImageStage[Any], only: Collection[int] | None, tally: Tally) -> tuple[set[int], int]:
    """Look at all shards and count those with nothing to do. Gives the others, and how many rows are to be computed.

    Their plans are made again when it is their turn: all plans at once would need memory for every image.
    """
    changed, pending = set(), 0
    for plan in plan_shards(stage, only):
        if plan.changed:
            changed.add(plan.shard)
            pending += len(plan.pending)
        else:
            tally.rows_quarantined += len(plan.blocked)
            tally.rows_copied += len(plan.records) - len(plan.blocked)
    return changed, pending


_REMEDY = "Mend or remove these images, or raise prepare.max_bad_fraction; finished rows are kept."


def _too_many(name: str, count: int, total: int, bad: Sequence[FinishedRow]) -> str:
    lines = "\n".join(f"  {row.image_id}: {row.reason}" for row in bad)
    return f"{name}: {count} of {total} images could not be processed\n{lines}"


Task = tuple[Sequence[Sample], Sequence[dict[str, Any]]]
Runner = Callable[[Sequence[Task]], Iterator[list[FinishedRow]]]


def _compute(stage: PerImageStage[Any], plan: ShardPlan, run: Runner, tick: Tick) -> dict[str, FinishedRow]:
    ids = [r.image_id for r in plan.pending if r.image_id not in plan.given]
    above = {noun: ShardFolder(stage.folder(noun)).rows(plan.shard, ids) for noun in stage.reads_rows if ids}
    groups: dict[Hashable, list[ImageRecord]] = defaultdict(list)
    for record in plan.pending:
        groups[stage.group(record)].append(record)
    tasks = []
    for members in groups.values():
        for start in range(0, len(members), stage.batch_size):
            batch = members[start : start + stage.batch_size]
            samples = [Sample(r, _rows_of(r, above)) for r in batch]
            tasks.append((samples, [plan.inputs[r.image_id] for r in batch]))
    finished = {}
    for rows in run(tasks):
        finished.update({row.image_id: row for row in rows})
        tick(len(rows), size=COPIES * sum(stored_size(row) for row in rows))
    for image_id, reason in plan.blocked.items():
        finished[image_id] = quarantine(image_id, plan.inputs[image_id], reason, stage.columns)
    return finished


def _rows_of(record: ImageRecord, above: Mapping[str, Mapping[str, Row]]) -> dict[str, Row]:
    """What earlier stages made of an image; nothing for a row that was given."""
    return {noun: rows[record.image_id] for noun, rows in above.items() if record.image_id in rows}


def _write(
    folder: ShardFolder,
    plan: ShardPlan,
    computed: Mapping[str, FinishedRow],
    schema: pa.Schema,
    compression: str,
    tally: Tally,
) -> None:
    """Put copied and computed rows into the data set's order and write the shard."""
    order = [r.image_id for r in plan.records]
    copied = [image_id for image_id in order if image_id not in computed]
    tables = [rows_table([computed[i] for i in order if i in computed], schema)]
    names = [i for i in order if i in computed]
    if copied:
        before = folder.table(plan.shard)
        if before is None:
            raise DataError(f"{folder.path(plan.shard)}: vanished during the run", "Type `dvc repro` again.")
        position = {image_id: i for i, image_id in enumerate(before.column("image_id").to_pylist())}
        tables.append(before.take([position[i] for i in copied]).replace_schema_metadata(schema.metadata))
        names += copied
    rank = {image_id: i for i, image_id in enumerate(names)}
    folder.write(plan.shard, pa.concat_tables(tables).take([rank[i] for i in order]), compression)
    tally.rows_computed += sum(row.status == "ok" for row in computed.values())
    tally.rows_copied += len(copied)
    tally.shards_written += 1


def process_task(
    stage: PerImageStage[Any], samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]
) -> list[FinishedRow]:
    """Process one batch; if it fails, each image alone, so that a bad one takes no other with it."""
    try:
        rows = stage.process_batch(samples)
        return [
            finish(s.record.image_id, i, row, stage.columns) for s, i, row in zip(samples, inputs, rows, strict=True)
        ]
    except Exception as error:  # whatever a bad image brings about costs this image, not the night
        if len(samples) > 1:
            return [row for s, i in zip(samples, inputs, strict=True) for row in process_task(stage, [s], [i])]
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return [quarantine(samples[0].record.image_id, inputs[0], reason, stage.columns)]


@contextmanager
def _runner(stage: PerImageStage[Any], pending: int) -> Iterator[Runner]:
    """Where batches are processed: in this process on a GPU or for very little work, else in a pool."""
    count = min(workers(), pending)
    if count == 0:
        yield lambda tasks: iter(())
    elif count == 1 or stage.device.type != "cpu":
        one_thread_each()
        stage.setup()
        yield lambda tasks: (process_task(stage, *task) for task in tasks)
    else:
        with process_pool(count, _start_worker, (stage.stage_name(), stage.cfg)) as submit:
            yield lambda tasks: _over(stage, submit, tasks)


def _over(stage: PerImageStage[Any], submit: Submit, tasks: Sequence[Task]) -> Iterator[list[FinishedRow]]:
    """Batches over a pool. Where processes die or hang over a batch, its images are tried alone; then the one that they
    die over is quarantined.
    """
    alone: list[Task] = []

    def lost(task: tuple[Any, ...], reason: str) -> list[FinishedRow]:
        samples, inputs = task
        if len(samples) > 1:
            alone.extend(([s], [i]) for s, i in zip(samples, inputs, strict=True))
            return []
        say(f"{stage.stage_name()}: {samples[0].record.image_id}: {reason}")
        return [quarantine(samples[0].record.image_id, inputs[0], reason, stage.columns)]

    yield from submit(_work, tasks, lost)
    if alone:
        yield from submit(_work, alone, lost)


_stage_of_this_worker: PerImageStage[Any] | None = None


def _start_worker(name: str, cfg: Section) -> None:
    global _stage_of_this_worker
    stage: Any = stage_class(name)(cfg)
    stage.setup()
    _stage_of_this_worker = stage


def _work(samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]) -> list[FinishedRow]:
    if _stage_of_this_worker is None:
        raise RuntimeError("the worker has no stage")
    return process_task(_stage_of_this_worker, samples, inputs)
