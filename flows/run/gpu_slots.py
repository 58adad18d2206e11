"""One training per GPU: a stage with a pool holds a slot for each of its devices.

A slot is one of Prefect's global concurrency limits, named after the device; while it is taken, the next stage waits.
The slot of a killed process is free when its lease ends.
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
"""Prefect's minimum; the holder renews it."""


def device_slots() -> list[str]:
    """Slot names of the devices of a training here: `gpu 3f2a…`, or `cpu of HOST`.

    Raises:
        UserError: $LABELFACTORY_DEVICES is not a positive whole number.
    """
    device = pick_device()
    if device.type != "cuda":
        return [f"{device} of {platform.node()}"]
    numbers = [device.index] if device.index is not None else list(range(torch.cuda.device_count()))
    numbers = numbers[: positive(DEVICES_VARIABLE, len(numbers))]
    # the uuid: under CUDA_VISIBLE_DEVICES each process counts from 0
    return [f"gpu {torch.cuda.get_device_properties(number).uuid}" for number in numbers]


@contextmanager
def devices_held(api: Api, hear: Callable[[str], None]) -> Iterator[None]:
    """Wait for the slots of this process's devices, and hold them while the body runs."""
    names = device_slots()
    for name in names:
        api.provide("/v2/concurrency_limits/", {"name": name, "limit": 1})  # an existing limit stays
    hear(f"waits for the slot of {', '.join(names)}")
    # a server that is down for a while must not end a training
    with concurrency(names, lease_duration=LEASE_SECONDS, strict=True, raise_on_lease_renewal_failure=False):
        yield
