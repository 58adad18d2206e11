"""Training on several devices at once: how many there are, and what makes the loss that of the joint batch.

Each process computes its equal share of every batch, and DDP averages their gradients. A mean over a share is as good as one
over the batch only where the shares count alike; a mean over valid pixels has to know the others' counts: `joint_mean`.
"""

import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import ProcessRaisedException

from labelfactory.devices import pick_device
from labelfactory.environment import positive
from labelfactory.errors import UserError
from labelfactory.progress import Tick, progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric

DEVICES_VARIABLE = "LABELFACTORY_DEVICES"
USERS = "\x1e"
"""Begins what a process says to its user, within the text of its end."""


def training_devices(batch: int, *, shared: bool = True) -> int:
    """Devices to train on: $LABELFACTORY_DEVICES, else every GPU; on the CPU one process.

    Of them as many are used as share a batch evenly: three GPUs and a batch of 8 make two.

    Args:
        batch: examples in a joint batch.
        shared: whether devices may share it (`Learner.shares_batches`); if not, one is used.

    Raises:
        UserError: the variable is not a positive whole number, or there are fewer GPUs.
    """
    device = pick_device()
    there = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    wanted = positive(DEVICES_VARIABLE, there)
    if device.type == "cuda" and wanted > there:
        raise UserError(
            f"{DEVICES_VARIABLE}={wanted}, but {there} GPU{'s' if there > 1 else ''} to train on",
            f"Type `unset {DEVICES_VARIABLE}`.",
        )
    return max(count for count in range(1, wanted + 1) if batch % count == 0) if shared else 1


def joint_mean(count: Tensor) -> Tensor:
    """The mean of a count over the processes that train together; the count itself where one trains alone.

    A loss that divides its own sum by it is, averaged over the processes, the loss of the joint batch.

    Args:
        count: a tensor without gradient, such as the number of valid pixels; every process calls this as often.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count
    total = count.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def run_shares(fabric: "Fabric", work: Callable[..., Any], *arguments: Any) -> None:
    """Do the work in each of the fabric's processes; what they return is lost.

    Args:
        fabric: of several devices, not launched.
        work: of (fabric, *arguments), which all travel to other processes.

    Raises:
        UserError: one process raised it, perhaps alone, over a photograph of its share; the others are ended.
    """
    try:
        fabric.launch(_share, work, *arguments)  # type: ignore[arg-type]  # its annotation has no place for them
    except ProcessRaisedException as failed:
        found = re.search(f"{USERS}(.*)", str(failed))
        if found is None:
            raise
        raise UserError(*json.loads(found.group(1))) from None


def _share(fabric: "Fabric", work: Callable[..., Any], *arguments: Any) -> None:
    """One process. What ends it reaches the others' parent as text."""
    warnings.filterwarnings(
        "ignore", message="find_unused_parameters=True was specified"
    )  # most nets use all they have
    try:
        work(fabric, *arguments)
    except UserError as error:
        raise RuntimeError(USERS + json.dumps([error.problem, error.remedy])) from None


@contextmanager
def progress_of_one(first: bool, title: str, total: int) -> Iterator[Tick]:
    """`progress` in steps, for the first process alone; the others do as much at the same time."""
    if first:
        with progress(title, total, "steps") as tick:
            yield tick
    else:
        yield lambda count=1, note="", size=0: None
