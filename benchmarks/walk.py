"""Seconds and memory of the random walk against dense squaring as in the authors' code, on random grids.

    python -m benchmarks.walk [--dense] [--megapixels 20] [--threads 2]

On $LABELFACTORY_DEVICE, else a GPU if there is one. Times are the best of three in one process. Peak memory is measured in
a separate process for each method: what the walk adds to the memory before it; on a GPU, what is allocated beyond the
inputs. Dense squaring at stride 4 takes minutes on a CPU and needs --dense.
"""

import argparse
import math
import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.precision import seconds_of
from labelfactory.devices import pick_device
from models.affinity._pairs import each_pair_affinity, pair_offsets, pair_regions
from models.affinity.psa import transition_of
from models.propagation import chebyshev, exact

CHANNELS, FEATURES, RADIUS, BETA, STEPS = 3, 128, 5, 8.0, 256
LIMIT_GIB = 4.0


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    seconds: float
    peak_gib: float
    scores: Tensor | None


def dense(features: Tensor, scores: Tensor, dtype: torch.dtype) -> Tensor:
    """Square the dense transition matrix eight times, as the authors' code does."""
    height, width = scores.shape[1:]
    cells = torch.arange(height * width, device=features.device).view(height, width)
    matrix = torch.eye(height * width, dtype=dtype, device=features.device)
    offsets = pair_offsets(RADIUS)
    for offset, plane in zip(offsets, each_pair_affinity(features, offsets), strict=True):
        first, second = pair_regions(height, width, offset)
        i, j = cells[first].flatten(), cells[second].flatten()
        matrix[i, j] = matrix[j, i] = plane[first].flatten().to(dtype) ** BETA
    matrix /= matrix.sum(dim=0, keepdim=True)
    for _ in range(int(math.log2(STEPS))):
        matrix = matrix @ matrix
    return (scores.to(dtype).flatten(1) @ matrix).view_as(scores)


def sparse(walk: Callable[..., Tensor], features: Tensor, scores: Tensor) -> Tensor:
    return walk(scores, transition_of(features, radius=RADIUS, beta=BETA), steps=STEPS)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dense float64": lambda f, x: dense(f, x, torch.float64),
    "dense float32": lambda f, x: dense(f, x, torch.float32),
    "exact": lambda f, x: sparse(exact.walk, f, x),
    "chebyshev": lambda f, x: sparse(chebyshev.walk, f, x),
}


def peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(method: str, grid: tuple[int, int], features: int, repeats: int, threads: int) -> Result:
    """Run one method in this process."""
    torch.set_num_threads(threads)
    device = pick_device()
    random = torch.Generator().manual_seed(0)
    before = peak_gib(device)
    field = torch.randn(features, *grid, generator=random).mul_(0.3).to(device)
    scores = torch.rand(CHANNELS, *grid, generator=random).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**30
    outputs: list[Tensor] = []

    def once() -> None:
        outputs[:] = [METHODS[method](field, scores)]

    seconds = min(seconds_of(once, device) for _ in range(repeats))
    small = outputs[0].double().cpu() if scores[0].numel() < 100_000 else None
    return Result(seconds, peak_gib(device) - before, small)


def measure_alone(method: str, grid: tuple[int, int], features: int = FEATURES, repeats: int = 3) -> Result:
    """Run one method in a new process, so that its peak memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (method, grid, features, repeats, torch.get_num_threads()))


def table(title: str, results: dict[str, Result]) -> None:
    """Print seconds, memory, and ratios to the first method of the table."""
    base = next(iter(results.values()))
    print(
        f"\n{title}\n{'method':<16}{'seconds':>9}{'GiB':>8}{'faster':>9}{'largest difference':>20}   (to {next(iter(results))})"
    )
    for name, result in results.items():
        error = (
            (result.scores - base.scores).abs().max().item() if None not in (result.scores, base.scores) else math.nan
        )
        print(
            f"{name:<16}{result.seconds:>9.3f}{result.peak_gib:>8.2f}{base.seconds / result.seconds:>8.1f}x{error:>20.1e}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", action="store_true", help="dense squaring at stride 4 too (minutes, several GiB)")
    parser.add_argument("--megapixels", type=float, default=20.0, help="size of the large image; 0 leaves it out")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device, on_cpu = pick_device(), pick_device().type == "cpu"
    print(
        f"{device}, {torch.get_num_threads()} threads, {CHANNELS} channels, radius {RADIUS}, {STEPS} steps, features → scores"
    )
    for stride, names in ((8, list(METHODS)), (4, [n for n in METHODS if args.dense or "dense" not in n])):
        grid = (math.ceil(375 / stride), math.ceil(500 / stride))
        title = f"375 × 500 at stride {stride}: {grid[0]} × {grid[1]} cells"
        table(title, {n: measure_alone(n, grid, repeats=1 if "dense" in n and on_cpu else 3) for n in names})
    if args.megapixels:
        large(args.megapixels)


def large(megapixels: float) -> None:
    """Walk over a large image at stride 4, and print whether its memory stays under the limit."""
    side = math.sqrt(megapixels * 1e6 / 12) / 4  # 4 : 3
    grid = (round(3 * side), round(4 * side))
    cells = grid[0] * grid[1]
    result = measure_alone("chebyshev", grid, features=FEATURES, repeats=1)
    verdict = "under" if result.peak_gib < LIMIT_GIB else "OVER"
    print(f"\n{megapixels:g} megapixels at stride 4: {grid[0]} × {grid[1]} cells")
    print(f"chebyshev {result.seconds:.1f} s, peak {result.peak_gib:.2f} GiB with {FEATURES} features a cell: ", end="")
    print(f"{verdict} {LIMIT_GIB:g} GiB; one dense float32 matrix would need {cells**2 * 4 / 2**40:.1f} TiB")


if __name__ == "__main__":
    main()
