"""Batches of a training set: the order of examples in an epoch, and the processes that read them.

On a GPU, loader processes read photographs during training; one that dies or hangs is replaced, and no batch is lost.
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
    """This process's part of these batches; after a loader process dies or hangs, its batch is read again."""
    share = len(groups[0]) // fabric.world_size
    own = [group[fabric.global_rank * share : (fabric.global_rank + 1) * share] for group in groups]
    done, loaders, failures = 0, _loader_processes(fabric), 0
    while done < len(own):
        try:
            for batch in _loader(fabric, view, own[done:], loaders):
                done += 1
                yield batch
        except RuntimeError as error:
            if not loaders or "DataLoader" not in str(error):
                raise
            failures += 1
            loaders = loaders if failures < LOADER_FAILURES else 0
            where = "in new processes" if loaders else "in this process"
            say(f"{' '.join(str(error).split())}; the batch is read again {where}")


GROUPING = 1
"""Makes the seed of the groups another than that of the order."""
LOADER_FAILURES = 2
"""Failures of loader processes in an epoch after which the training process reads the photographs itself."""


def _loader_processes(fabric: "Fabric") -> int:
    """Number of processes that read photographs. None on the CPU, whose cores are busy with the network."""
    return min(8, (cores() - 1) // fabric.world_size) if fabric.device.type != "cpu" else 0


def _loader(fabric: "Fabric", view: _EpochView, groups: Sequence[list[int]], loaders: int) -> Any:
    """Batches of these indices. A loader process that dies or hangs raises a RuntimeError that names `DataLoader`."""
    loader = DataLoader(
        view,
        batch_sampler=groups,
        num_workers=loaders,
        pin_memory=fabric.device.type == "cuda",
        timeout=task_seconds() if loaders else 0,
        worker_init_fn=_start_loader,
        generator=torch.Generator(),  # its own: a restarted loader draws nothing from the network's
    )
    return fabric.setup_dataloaders(loader, use_distributed_sampler=False)


def _start_loader(number: int) -> None:
    """One thread per loader process: with the default, each would have one per core."""
    one_thread_each()
