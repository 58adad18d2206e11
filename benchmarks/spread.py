"""How evenly shards spread over 1, 2, 4 and 8 worker processes of Dask and Ray, and whether Prefect's server keeps up.

    python -m benchmarks.spread [--images 2000] [--wait 0.1] [--runner dask] [--workers 1,8]

The stage waits instead of computing, so that two cores show the engine and not themselves. Efficiency is the time that the
waiting takes, divided by the time of all workers from the start of the first shard to the end of the last, as the server has
recorded them; the start of the cluster is shown beside it. The server is asked twice a second, as its page asks it.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.orchestration import CHEAP_STAGE, MAP, asked, dataset, mapped, serving
from labelfactory.dataset.prepared import IMAGES, Dataset, write_dataset

# importable since benchmarks.orchestration put the folder on the path
from factory import Factory  # isort: skip
from workspace import make_workspace  # isort: skip

IMAGES_PER_SHARD = 10
LEAST_EFFICIENCY, MOST_MILLISECONDS = 0.90, 150
PAGE = 200
"""Task runs in one answer of the server."""


def waiting_stage(seconds: float) -> str:
    """The code of a stage whose rows cost a wait and nothing else."""
    work = '"""Nothing to compute."""\n'
    return CHEAP_STAGE.replace(work, f"{work}        time.sleep({seconds})\n").replace(
        "import numpy as np\n", "import time\n\nimport numpy as np\n", 1
    )


def in_shards(count: int) -> Dataset:
    """`count` images, IMAGES_PER_SHARD to a shard; none is opened."""
    made = dataset(count)
    records = tuple(replace(r, shard=r.position // IMAGES_PER_SHARD) for r in made.records)
    return replace(made, records=records, shard_size=IMAGES_PER_SHARD)


def tasks(factory: Factory) -> list[dict[str, Any]]:
    """All task runs that the server knows."""
    found: list[dict[str, Any]] = []
    while True:
        page = factory.api.post("/task_runs/filter", {"limit": PAGE, "offset": len(found)})
        found += page
        if len(page) < PAGE:
            return found


def measure(runner: str, workers: int, images: int, wait: float) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as top:
        folder = make_workspace(Path(top) / "spread", git=True)
        write_dataset(in_shards(images), folder / IMAGES)
        (folder / "stages/extract_cams.py").write_text(waiting_stage(wait))
        with serving(folder) as factory, asked(factory) as took:
            program = MAP.replace('"dask"', repr(runner))
            result = mapped(factory, program=program, LABELFACTORY_WORKERS=str(workers))
            done = tasks(factory)
    times = [[datetime.fromisoformat(task[end]) for task in done] for end in ("start_time", "end_time")]
    spent = (max(times[1]) - min(times[0])).total_seconds()
    efficiency = images * wait / (workers * spent)
    slow = 1000 * sorted(took)[int(0.95 * (len(took) - 1))]
    verdict = "" if efficiency >= LEAST_EFFICIENCY and slow <= MOST_MILLISECONDS else "  OVER A LIMIT"
    parts = (
        f"{runner:5} {workers} workers",
        f"{result['shards']} shards, {result['state']}",
        f"{spent:6.1f} s of {images * wait / workers:6.1f}: efficiency {efficiency:.3f}",
        f"{result['shards'] / spent:5.1f} shards a second",
        f"{result['map']:6.1f} s with the cluster's start",
        f"the server answers in {1000 * statistics.median(took):.0f} ms, 95th percentile {slow:.0f} ms{verdict}",
    )
    return "; ".join(parts)


def main() -> None:
    """Print a line for each runner and number of workers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--wait", type=float, default=0.1, help="seconds for an image")
    parser.add_argument("--runner", choices=("dask", "ray"), action="append")
    parser.add_argument("--workers", default="1,2,4,8")
    args = parser.parse_args()
    for runner in args.runner or ("dask", "ray"):
        for workers in map(int, args.workers.split(",")):
            print(measure(runner, workers, args.images, args.wait), flush=True)


if __name__ == "__main__":
    main()
