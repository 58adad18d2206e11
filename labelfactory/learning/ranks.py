"""Training on several devices: how many are used, and means over the joint batch.

Each process computes an equal share of every batch, and DDP averages the gradients. The mean of the shares' means is that of
the batch only where their counts are equal; a mean over valid pixels needs the counts of all processes: `joint_mean`.
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
"""Marks a UserError in the traceback of a process."""


def training_devices(batch: int, multiple: int = 1) -> int:
    """Devices to train on: $LABELFACTORY_DEVICES, else every GPU; on the CPU one process.

    The number used is the largest that gives each device as many examples: with three GPUs and a batch of 8, two.

    Args:
        batch: examples in a joint batch.
        multiple: a device's examples are a multiple of it (`Learner.share_multiple`); 0: one device.

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
    return max(n for n in range(1, wanted + 1) if n == 1 or (multiple and batch % (n * multiple) == 0))


def joint_mean(count: Tensor) -> Tensor:
    """The mean of a count over all training processes; the count itself if there is one.

    Sums divided by it, averaged over the processes, are the mean over the joint batch.

    Args:
        count: a tensor without gradient, such as the number of valid pixels; every process must make the same calls.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return count
    total = count.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def run_shares(fabric: "Fabric", work: Callable[..., Any], *arguments: Any) -> None:
    """Call `work` in each of the fabric's processes; return values are discarded.

    Args:
        fabric: of several devices, not launched.
        work: called with (fabric, *arguments), all of which must be picklable.

    Raises:
        UserError: a process raised it; the others are ended.
    """
    try:
        fabric.launch(_share, work, *arguments)  # type: ignore[arg-type]  # its annotation lacks the arguments
    except ProcessRaisedException as failed:
        match = re.search(f"{USERS}(.*)", str(failed))
        if match is None:
            raise
        raise UserError(*json.loads(match.group(1))) from None


def _share(fabric: "Fabric", work: Callable[..., Any], *arguments: Any) -> None:
    """Call `work` in one process; a UserError reaches the parent process as text."""
    # most nets use all parameters
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")
    try:
        work(fabric, *arguments)
    except UserError as error:
        raise RuntimeError(USERS + json.dumps([error.problem, error.remedy])) from None


@contextmanager
def progress_of_one(first: bool, title: str, total: int) -> Iterator[Tick]:
    """`progress` in steps, shown by the first process; the others are in step with it."""
    if first:
        with progress(title, total, "steps") as tick:
            yield tick
    else:
        yield lambda count=1, note="", size=0: None
