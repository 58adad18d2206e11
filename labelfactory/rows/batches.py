"""Runs batches of images: in this process on a GPU or for one image, else in a pool of processes of one thread each.

A batch that fails is tried again image by image, so that a bad one costs itself alone.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from labelfactory.console import say
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.devices import one_thread_each, workers
from labelfactory.masking import masked
from labelfactory.pool.pool import Submit, process_pool
from labelfactory.rows.columns import Column
from labelfactory.rows.plan import RowSpec
from labelfactory.rows.shards import FinishedRow, Row, Sample, finish, quarantine

if TYPE_CHECKING:
    import torch


Task = tuple[Sequence[Sample], Sequence[dict[str, Any]]]
"""A batch: its images, and of each what its key is made of."""
Runner = Callable[[Sequence[Task]], Iterator[list[FinishedRow]]]
"""Makes the rows of some batches, each as soon as it is done."""


class RowMaker(Protocol):
    """Makes rows: a per-image stage."""

    @property
    def columns(self) -> Mapping[str, Column]:
        """Columns of its rows."""

    @property
    def device(self) -> "torch.device":
        """Device of its networks."""

    @property
    def batch_size(self) -> int:
        """Images in a batch."""

    def setup(self) -> None:
        """Load networks and thresholds; called once in each process."""

    def group(self, record: ImageRecord) -> Hashable:
        """Images of the same group may share a batch."""

    def process_batch(self, samples: Sequence[Sample]) -> list[Row]:
        """Make the rows of a batch."""


def process_task(maker: RowMaker, samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]) -> list[FinishedRow]:
    """Process one batch; if it fails, each image alone, so that only the bad ones are quarantined."""
    try:
        rows = maker.process_batch(samples)
        return [
            finish(s.record.image_id, i, row, maker.columns) for s, i, row in zip(samples, inputs, rows, strict=True)
        ]
    except Exception as error:  # any error of an image costs this image, not the run
        if len(samples) > 1:
            return [row for s, i in zip(samples, inputs, strict=True) for row in process_task(maker, [s], [i])]
        reason = masked(f"{type(error).__name__}: {' '.join(str(error).split())}")
        return [quarantine(samples[0].record.image_id, inputs[0], reason, maker.columns)]


@contextmanager
def runner(
    spec: RowSpec, maker: RowMaker, remake: tuple[Callable[..., RowMaker], tuple[Any, ...]], pending: int
) -> Iterator[Runner]:
    """Gives the function that processes batches: in this process on a GPU or for one image, else in a pool."""
    count = min(workers(), pending)
    if count == 0:  # nothing is pending, unless a shard turns out to be damaged
        yield lambda tasks: _in_this_process(maker, tasks)
    elif count == 1 or maker.device.type != "cpu":
        one_thread_each()
        maker.setup()
        yield lambda tasks: (process_task(maker, *task) for task in tasks)
    else:
        with process_pool(count, _start_worker, remake) as submit:
            yield lambda tasks: _over(spec, submit, tasks)


def _in_this_process(maker: RowMaker, tasks: Sequence[Task]) -> Iterator[list[FinishedRow]]:
    """Batches of a shard that turned out to be damaged; the maker is set up only if there are any."""
    if tasks:
        one_thread_each()
        maker.setup()
    yield from (process_task(maker, *task) for task in tasks)


def _over(spec: RowSpec, submit: Submit, tasks: Sequence[Task]) -> Iterator[list[FinishedRow]]:
    """Batches in a pool. The images of a batch that kills or hangs its processes are tried one by one; one that does so
    alone is quarantined.
    """
    alone: list[Task] = []

    def lost(task: tuple[Any, ...], reason: str) -> list[FinishedRow]:
        samples, inputs = task
        if len(samples) > 1:
            alone.extend(([s], [i]) for s, i in zip(samples, inputs, strict=True))
            return []
        say(f"{spec.stage}: {samples[0].record.image_id}: {reason}")
        return [quarantine(samples[0].record.image_id, inputs[0], reason, spec.columns)]

    yield from submit(_work, tasks, lost)
    if alone:
        yield from submit(_work, alone, lost)


_maker_of_this_process: RowMaker | None = None


def _start_worker(remake: Callable[..., RowMaker], arguments: tuple[Any, ...]) -> None:
    global _maker_of_this_process
    maker = remake(*arguments)
    maker.setup()
    _maker_of_this_process = maker


def _work(samples: Sequence[Sample], inputs: Sequence[dict[str, Any]]) -> list[FinishedRow]:
    if _maker_of_this_process is None:
        raise RuntimeError("the worker process has no stage")
    return process_task(_maker_of_this_process, samples, inputs)
