"""What a training learns from: examples, their order in an epoch, and the processes that read them.

On a GPU processes read photographs while the network learns; one that dies or hangs is replaced, and costs no batch.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader

from labelfactory.console import say
from labelfactory.devices import cores, one_thread_each
from labelfactory.learning.learner import Batch
from labelfactory.pool.pool import task_seconds

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Examples(Protocol):
    """A training set whose augmentation is a function of (seed, epoch, index)."""

    def __len__(self) -> int:
        """Number of examples."""

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One example: name → tensor without a batch axis."""

    def whole(self, index: int, long_side: int) -> Batch:
        """One example without augmentation, the photograph's longer side resized to `long_side` pixels."""


class _EpochView(torch.utils.data.Dataset[Batch]):
    """One epoch of a training set."""

    def __init__(self, examples: Examples, seed: int, epoch: int) -> None:
        self.examples, self.seed, self.epoch = examples, seed, epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Batch:
        return self.examples.get(index, np.random.default_rng([self.seed, self.epoch, index]))


class Groups(Protocol):
    """Which examples share a batch: `Learner.groups`."""

    def __call__(self, size: int, rng: np.random.Generator) -> Sequence[Sequence[int]] | None:
        """Lists of `size` indices, or None for a random order."""


def batches_in_epoch(examples: int, batch_size: int) -> int:
    """Steps of an epoch: the incomplete last batch is left out unless it is the only one."""
    return examples // batch_size or 1


def epoch_batches(
    fabric: "Fabric", examples: Examples, *, batch_size: int, seed: int, epoch: int, groups: Groups | None = None
) -> Iterator[Batch]:
    """The epoch's batches, this process's part of each.

    Raises:
        ValueError: `groups` gives fewer batches than the epoch has.
    """
    count = batches_in_epoch(len(examples), batch_size)
    chosen = groups(batch_size, np.random.default_rng([seed, epoch, GROUPING])) if groups is not None else None
    if chosen is None:
        order = np.random.default_rng([seed, epoch]).permutation(len(examples)).tolist()
        size = min(batch_size, len(order))
        chosen = [order[i * size : (i + 1) * size] for i in range(count)]
    if len(chosen) < count:
        raise ValueError(f"{len(chosen)} groups of examples, an epoch has {count} batches")
    yield from _each_batch(fabric, _EpochView(examples, seed, epoch), [list(group) for group in chosen[:count]])


def whole_batches(fabric: "Fabric", examples: Examples, long_side: int) -> Iterator[Batch]:
    """Every example without augmentation, in order, in batches of one on the fabric's device."""
    for index in range(len(examples)):
        example = examples.whole(index, long_side)
        yield {name: value[None].to(fabric.device) for name, value in example.items()}


def _each_batch(fabric: "Fabric", view: _EpochView, groups: Sequence[list[int]]) -> Iterator[Batch]:
    """These batches; a loader process that dies or hangs is replaced, and its batch is read again."""
    share = len(groups[0]) // fabric.world_size
    mine = [group[fabric.global_rank * share : (fabric.global_rank + 1) * share] for group in groups]
    done, feeders, failures = 0, _feeders(fabric), 0
    while done < len(mine):
        try:
            for batch in _loader(fabric, view, mine[done:], feeders):
                done += 1
                yield batch
        except RuntimeError as error:
            if not feeders or "DataLoader" not in str(error):
                raise
            failures += 1
            feeders = feeders if failures < FEEDER_TRIES else 0
            where = "in new processes" if feeders else "in this process"
            say(f"{' '.join(str(error).split())}; the batch is read again {where}")


GROUPING = 1
"""Tells the generator of groups from that of the order."""
FEEDER_TRIES = 2
"""Loader processes may die or hang so often in an epoch; then the training process reads its photographs itself."""


def _feeders(fabric: "Fabric") -> int:
    """Processes that read photographs. On the CPU none: its cores are busy with the network, they would take turns."""
    return min(8, (cores() - 1) // fabric.world_size) if fabric.device.type != "cpu" else 0


def _loader(fabric: "Fabric", view: _EpochView, groups: Sequence[list[int]], feeders: int) -> Any:
    """Batches of these positions. A loader that dies, or is silent for too long, raises a RuntimeError that names it."""
    loader = DataLoader(
        view,
        batch_sampler=groups,
        num_workers=feeders,
        pin_memory=fabric.device.type == "cuda",
        timeout=task_seconds() if feeders else 0,
        worker_init_fn=_start_feeder,
        generator=torch.Generator(),  # of the loader's own: one that is started again takes nothing from the network's
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)


def _start_feeder(number: int) -> None:
    """Each process that reads photographs has one thread: all of them together would have a thread a core each."""
    one_thread_each()
