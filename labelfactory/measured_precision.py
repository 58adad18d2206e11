"""`precision: auto`: 32 bits or bfloat16, whichever was quicker for a network on this processor.

That a processor has bfloat16 does not say that it is quicker in it: on some a network takes 1.1 to 1.6 times as long. So both
are timed on the first input, and the answer is kept in this user's cache, where another process or a later run finds it: all
of this user's on one machine compute alike.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from labelfactory.devices import FabricPrecision, has_bfloat16
from labelfactory.digests import digest_json
from labelfactory.environment import cache_folder, own_cache_folder
from labelfactory.errors import DataError, UserError
from labelfactory.files import write_json
from labelfactory.foreign_files import read_file
from labelfactory.json_files import read_content
from labelfactory.lock import file_lock

if TYPE_CHECKING:
    import torch

FOLDER = "precision-2"
"""Raise its number when networks compute otherwise: what was measured before says nothing then."""
LARGEST = 2**20
"""Bytes of a file there."""
SECONDS = 2.0
"""Time for the turns of a measurement; each precision has at least one turn after one that warms it up."""
MOST_TURNS = 10
GAIN = 0.97
"""bfloat16 rounds more, so it has to be quicker than this share of the time in 32 bits."""
Work = Literal["inference", "training"]
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "bf16")
"""Instructions that make one processor of a name another one for a network."""


class Measured(BaseModel):
    """What was measured for a network."""

    network: str
    work: Work
    precision: FabricPrecision
    seconds: dict[str, float]
    """Precision → seconds of its quickest turn."""
    where: str
    """Processor or GPU, threads, and version of torch."""


def quicker_precision(
    network: "torch.nn.Module", work: Work, device: "torch.device", turn: Callable[[FabricPrecision], None]
) -> FabricPrecision:
    """The precision in which this machine is quicker, measured where no process has done so yet.

    Args:
        network: told from others by its layers, not by its weights.
        work: forward passes alone, or steps of training.
        device: where it computes.
        turn: does this work once in a precision.
    """
    if not has_bfloat16(device):
        return "32-true"
    known = _known.setdefault(network, {})
    if (work, device) not in known:
        known[work, device] = _kept_or_measured(_layers(network), work, device, turn)
    return known[work, device]


computed_in: set[FabricPrecision] = set()
"""In what this process has computed, for the record of the run."""

_known: "WeakKeyDictionary[torch.nn.Module, dict[tuple[Work, torch.device], FabricPrecision]]" = WeakKeyDictionary()
"""What this process has looked up, since it is asked for each image."""


def _kept_or_measured(
    layers: str, work: Work, device: "torch.device", turn: Callable[[FabricPrecision], None]
) -> FabricPrecision:
    """Where nothing can be kept, 32 bits: each process would have an answer of its own."""
    where = _where(device)
    with ExitStack() as stack:
        try:
            path = own_cache_folder(FOLDER) / f"{digest_json([layers, work, where])[:32]}.json"
            stack.enter_context(file_lock(path.with_suffix(".lock")))  # others wait for the first
        except (OSError, UserError):
            return "32-true"
        kept = _read(path)
        if kept is None:
            kept = _measured(layers, work, device, where, turn)
            with suppress(OSError, UserError):
                write_json(path, kept.model_dump())
            kept = _read(path)
    return "32-true" if kept is None else kept.precision


def _layers(network: "torch.nn.Module") -> str:
    return f"{type(network).__name__} {digest_json(repr(network))[:12]}"


def _measured(
    layers: str, work: Work, device: "torch.device", where: str, turn: Callable[[FabricPrecision], None]
) -> Measured:
    """The two take turns until the time is up."""
    both: tuple[FabricPrecision, FabricPrecision] = ("32-true", "bf16-mixed")
    for precision in both:  # kernels are prepared at the first call
        _seconds(turn, precision, device)
    taken: dict[FabricPrecision, list[float]] = {precision: [] for precision in both}
    began = time.perf_counter()
    while not taken["32-true"] or (time.perf_counter() - began < SECONDS and len(taken["32-true"]) < MOST_TURNS):
        for precision in both:
            taken[precision].append(_seconds(turn, precision, device))
    best = {precision: min(times) for precision, times in taken.items()}
    choice: FabricPrecision = "bf16-mixed" if best["bf16-mixed"] < GAIN * best["32-true"] else "32-true"
    return Measured(
        network=layers,
        work=work,
        precision=choice,
        seconds={str(name): value for name, value in best.items()},
        where=where,
    )


def _seconds(turn: Callable[[FabricPrecision], None], precision: FabricPrecision, device: "torch.device") -> float:
    import torch

    began = time.perf_counter()
    try:
        turn(precision)
    except torch.OutOfMemoryError:  # the other one may need half of it
        torch.cuda.empty_cache()
        return math.inf
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def precision_folder() -> Path | None:
    """Where measurements of this user are kept; None for a user without a home."""
    cache = cache_folder()
    return None if cache is None else cache / f"{FOLDER}-{os.getuid()}"


def kept_here(device: "torch.device") -> Iterator[Measured]:
    """All that was measured on this device with this torch, by whatever number of threads."""
    try:
        folder = own_cache_folder(FOLDER, make=False)
    except OSError:  # not there, or others may write in it
        return
    start = _machine(device)
    for path in sorted(folder.glob("*.json")):
        kept = _read(path)
        if kept is not None and kept.where.startswith(start):
            yield kept


def _read(path: Path) -> Measured | None:
    """A damaged file counts as none."""
    try:
        found: Measured = read_content(path, read_file(path, largest=LARGEST), Measured, "")
    except DataError:
        return None
    return found


def _where(device: "torch.device") -> str:
    """What decides how fast a network is there. On a GPU the threads of this process do not."""
    import torch

    return _machine(device) + ("" if device.type == "cuda" else f", {torch.get_num_threads()} threads")


def _machine(device: "torch.device") -> str:
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return f"{name}, torch {torch.__version__}"


@cache
def processor() -> str:
    """The processor's name and the instructions that networks use on it."""
    import torch

    able: Mapping[str, Any] = torch.cpu.get_capabilities()
    return f"{_model_name()} ({' '.join(name for name in INSTRUCTIONS if able.get(name))})"


def _model_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name") and ":" in line)
    return next(named, platform.processor() or platform.machine())
