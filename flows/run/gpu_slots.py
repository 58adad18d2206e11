"""One training per GPU: a stage that wants a pool of GPUs holds a slot for each device that it computes on.

Slots are Prefect's global concurrency limits, one a device, under the device's name; while one is taken, the next stage waits.
The slot of a process that was killed is free again when its lease ends.
"""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from prefect.concurrency.sync import concurrency

from flows.server.api import Api
from labelfactory.devices import pick_device
from labelfactory.environment import positive
from labelfactory.learning.ranks import DEVICES_VARIABLE

LEASE_SECONDS = 60.0
"""The shortest that Prefect grants; a living holder renews it."""


def device_slots() -> list[str]:
    """Names of the devices that a training here computes on: `gpu 3f2a…`, or `cpu of HOST`."""
    device = pick_device()
    if device.type != "cuda":
        return [f"{device} of {platform.node()}"]
    numbers = [device.index] if device.index is not None else list(range(torch.cuda.device_count()))
    numbers = numbers[: positive(DEVICES_VARIABLE, len(numbers))]
    # the card's own name: under CUDA_VISIBLE_DEVICES each process counts from 0
    return [f"gpu {torch.cuda.get_device_properties(number).uuid}" for number in numbers]


@contextmanager
def devices_held(api: Api, hear: Callable[[str], None]) -> Iterator[None]:
    """Hold the slots of this process's devices while the body runs; wait for them first."""
    names = device_slots()
    for name in names:
        api.provide("/v2/concurrency_limits/", {"name": name, "limit": 1})  # or another limit that somebody gave it
    hear(f"asks for the slot of {', '.join(names)}")
    # a server that is away for a while must not end a training: the lease is its affair, the work is ours
    with concurrency(names, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield
