"""What a training learns from: examples, their order in an epoch, and the processes that read them.

On a GPU processes read photographs while the network learns; one that dies or hangs is replaced, and costs no batch.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from labelfactory.console import say
from labelfactory.devices import cores, one_thread_each
from labelfactory.pool.pool import task_seconds

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Batch = dict[str, Tensor]


class Examples(Protocol):
    """A training set whose augmentation is a function of (seed, epoch, index)."""

    def __len__(self) -> int:
        """Number of examples."""

    def get(self, index: int, rng: np.random.Generator) -> Batch:
        """One example: name → tensor without a batch axis."""


class _EpochView(torch.utils.data.Dataset[Batch]):
    """One epoch of a training set, in the order of its seed."""

    def __init__(self, examples: Examples, seed: int, epoch: int) -> None:
        self.examples, self.seed, self.epoch = examples, seed, epoch
        self.order = np.random.default_rng([seed, epoch]).permutation(len(examples))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> Batch:
        index = int(self.order[position])
        return self.examples.get(index, np.random.default_rng([self.seed, self.epoch, index]))


def epoch_batches(fabric: "Fabric", examples: Examples, *, batch_size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """The epoch's batches, this process's part of each; the incomplete last one is left out unless it is the only one."""
    view = _EpochView(examples, seed, epoch)
    groups = [list(range(i, i + batch_size)) for i in range(0, len(view) - batch_size + 1, batch_size)]
    groups = groups or [list(range(len(view)))]
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
