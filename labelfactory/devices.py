"""The device and precision of computations, and the number of processes and threads.

On one CPU none of them changes a result.
"""

import ctypes
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from labelfactory.environment import positive
from labelfactory.errors import UserError

if TYPE_CHECKING:
    import torch

FabricPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Names of Lightning Fabric."""
Precision = Literal["auto", FabricPrecision]
"""`auto` is the quicker one on this machine (measured_precision.py)."""
DEVICE_VARIABLE = "LABELFACTORY_DEVICE"
WORKERS_VARIABLE = "LABELFACTORY_WORKERS"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def workers() -> int:
    """Processes for per-image work: $LABELFACTORY_WORKERS, else one per core.

    Raises:
        UserError: the variable is not a positive whole number.
    """
    return positive(WORKERS_VARIABLE, cores())


def pick_device() -> "torch.device":
    """$LABELFACTORY_DEVICE (cpu, cuda, cuda:1, mps), else the GPU if there is one, else the CPU.

    Raises:
        UserError: this machine has no such device.
    """
    import torch  # takes seconds, and only computations need it

    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserError(f"{DEVICE_VARIABLE}={wanted!r} is not a device", "Use cpu, cuda or cuda:0.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"{DEVICE_VARIABLE}={wanted} but torch sees no GPU", "Type `labelfactory doctor`.")
    return device


def has_bfloat16(device: "torch.device") -> bool:
    """Whether a device has bfloat16 arithmetic of its own. Without it, bf16-mixed is always slower than 32 bits."""
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def keep_freed_memory() -> None:
    """Have this process use freed memory again instead of giving it back to the system, where the C library is glibc.

    Each step of a training on a CPU takes and frees the same gigabyte, whose pages the system clears anew each time: a tenth of
    the step (docs/experiments.md).
    """
    with suppress(AttributeError, OSError):  # another C library
        tune = ctypes.CDLL(None).mallopt
        tune(_MMAP_MAX, 0)
        tune(_TRIM_THRESHOLD, 2**31 - 1)


_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""M_TRIM_THRESHOLD and M_MMAP_MAX of <malloc.h>."""


def one_thread_each() -> None:
    """Make this process compute on one thread, so that results do not depend on the number of processes."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(0)
