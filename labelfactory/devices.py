"""Which device to compute on, and how many processes and threads to use. None of it changes a result on the CPU."""

import os

import torch

from labelfactory.errors import UserError

DEVICE_VARIABLE = "LABELFACTORY_DEVICE"
WORKERS_VARIABLE = "LABELFACTORY_WORKERS"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def workers() -> int:
    """Processes for per-image work: $LABELFACTORY_WORKERS, else one a core.

    Raises:
        UserError: the variable is no positive number.
    """
    value = os.environ.get(WORKERS_VARIABLE, "")
    if not value:
        return cores()
    if not value.isdigit() or int(value) < 1:
        raise UserError(f"{WORKERS_VARIABLE}={value!r} is no positive number", f"Type `unset {WORKERS_VARIABLE}`.")
    return int(value)


def pick_device() -> torch.device:
    """$LABELFACTORY_DEVICE (cpu, cuda, cuda:1, mps), else the GPU if there is one, else the CPU.

    Raises:
        UserError: the device does not exist here.
    """
    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"{DEVICE_VARIABLE}={wanted!r} is no device", "Use cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{DEVICE_VARIABLE}={wanted} but torch sees no GPU", "Type `labelfactory doctor`.")
    return device


def one_thread_each() -> None:
    """Make this process compute on one thread, so that results do not depend on how many processes there are."""
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
