"""Cost of Prefect: the line as a flow against `dvc repro`, and a thousand shards planned and mapped over a cluster.

    python -m benchmarks.orchestration [--images 24] [--rounds 2] [--shards 1000] [--only line|shards]

The line is that of the tests: drawn pictures, the smallest nets. `dvc repro` and the flow alternate, each round in new copies
of one project; a flow's time is from its start by the worker to its end, by the server's record. CPU seconds are those of all
processes; on a machine with other work they are the safer figure.

For the shards, a stage with rows of a few bytes replaces `extract_cams`, one image per shard, so that only the machinery is
measured. A server that falls behind answers slowly or records finished tasks late.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

# a project and its server, as tests have them
from factory import Factory, serving, wait_until  # noqa: E402
from small_line import small_project  # noqa: E402
from workspace import call, copy_workspace, make_workspace  # noqa: E402

from labelfactory.dataset.prepared import IMAGES, Dataset, ImageRecord, write_dataset  # noqa: E402
from labelfactory.digests import digest_bytes  # noqa: E402
from labelfactory.schema import Classes  # noqa: E402

LIMIT_SECONDS, LIMIT_SHARE = 10.0, 0.02
"""What a flow may add to `dvc repro`."""
CHEAP_STAGE = '''"""Stands in for extract_cams: rows of a few bytes that cost nothing."""

import numpy as np

from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.shards import Row, Sample
from labelfactory.settings.params import Section
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import main


class Config(Section):
    """Accepts any key of the section."""

    model_config = {"extra": "ignore"}


class ExtractCams(PerImageStage[Config]):
    """One number an image."""

    reads = ("dataset",)
    writes = "cams"
    columns = {"cam": ArrayColumn("float16")}

    def process(self, sample: Sample) -> Row:
        """Nothing to compute."""
        return {"cam": np.zeros(1, np.float16)}


if __name__ == "__main__":
    main(ExtractCams)
'''
MAP = """
import json, sys, time
from flows.run.fan_out import fan_out, pending_shards
began = time.monotonic()
shards = pending_shards("extract_cams")
planned = time.monotonic()
state = fan_out("extract_cams", shards, "dask")
mapped = time.monotonic()
print("RESULT", json.dumps({"shards": len(shards), "state": state.name, "plan": planned - began, "map": mapped - planned}))
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock and of the CPUs."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:7.1f} s, CPU {self.cpu:7.1f} s"


def repro(folder: Path) -> Cost:
    """`dvc repro` in a project."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call(folder, "dvc", "repro")
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def flow(factory: Factory) -> Cost:
    """The line through server and worker."""
    worker = psutil.Process(factory.pid("worker cpu"))
    before = worker.cpu_times()
    done = factory.wait(factory.run())
    if done["state"]["type"] != "COMPLETED":
        raise RuntimeError(f"{done['state']}")
    wall = (datetime.fromisoformat(done["end_time"]) - datetime.fromisoformat(done["start_time"])).total_seconds()
    # the system counts the seconds of the flow's process when the worker has seen it end
    wait_until(lambda: worker.cpu_times().children_user > before.children_user, seconds=120)
    after = worker.cpu_times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, spent)


def line(images: int, rounds: int, top: Path) -> None:
    """Both in turns, from nothing and again when nothing is stale."""
    project = small_project(top / "project", images)
    costs_of: dict[str, list[Cost]] = {name: [] for name in ("repro", "flow", "repro again", "flow again")}
    for turn in range(rounds):
        folder = copy_workspace(project, top / f"repro-{turn}")
        costs_of["repro"].append(repro(folder))
        costs_of["repro again"].append(repro(folder))
        with serving(copy_workspace(project, top / f"flow-{turn}")) as factory:
            costs_of["flow"].append(flow(factory))
            costs_of["flow again"].append(flow(factory))
    for name, costs in costs_of.items():
        print(f"{name:12}", "  |  ".join(map(str, costs)))
    for name in ("", " again"):
        for what in ("wall", "cpu"):
            bare = statistics.median(getattr(cost, what) for cost in costs_of[f"repro{name}"])
            ours = statistics.median(getattr(cost, what) for cost in costs_of[f"flow{name}"])
            limit = LIMIT_SECONDS + LIMIT_SHARE * bare
            verdict = "within" if ours - bare <= limit else "OVER"
            print(
                f"{what:4} the flow{name} adds {ours - bare:6.1f} s, ratio {ours / bare:.3f}; {verdict} the limit {limit:.1f} s"
            )


@contextmanager
def asked(factory: Factory, every: float = 0.5) -> Iterator[list[float]]:
    """Poll the server within the `with` block, as its page would; the list gets the seconds of each answer."""
    took: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.wait(every):
            began = time.monotonic()
            factory.api.post("/flow_runs/filter", {"limit": 20})
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def shards(count: int, top: Path) -> None:
    """Plan and map `count` shards, and measure whether the server keeps up."""
    folder = make_workspace(top / "shards", git=True)
    write_dataset(dataset(count), folder / IMAGES)
    (folder / "stages/extract_cams.py").write_text(CHEAP_STAGE)
    with serving(folder) as factory:
        with asked(factory) as quiet:
            time.sleep(10)
        with asked(factory) as busy:
            result = mapped(factory)
        began = time.monotonic()
        while completed(factory) < result["shards"]:
            if time.monotonic() - began > 120:
                raise RuntimeError(f"the server knows of {completed(factory)} finished tasks of {result['shards']}")
            time.sleep(0.2)
        late = time.monotonic() - began
    print(f"{result['shards']} shards: {result['state']}")
    print(
        f"planned in {result['plan']:.1f} s, mapped in {result['map']:.1f} s:"
        f" {1000 * result['map'] / result['shards']:.0f} ms per shard"
    )
    print(f"the server knew of the last finished task {late:.1f} s after the flow had ended")
    for name, took in (("before", quiet), ("meanwhile", busy)):
        ordered = sorted(took)
        print(
            f"the server's answers {name}: median {1000 * statistics.median(ordered):.0f} ms,"
            f" 95th percentile {1000 * ordered[int(0.95 * (len(ordered) - 1))]:.0f} ms, slowest {1000 * ordered[-1]:.0f} ms"
        )


def dataset(count: int) -> Dataset:
    """`count` images, each in its own shard; none is opened."""
    records = tuple(
        ImageRecord(
            image_id=f"{number:05d}",
            path=f"data/raw/{number:05d}.png",
            sha256=digest_bytes(b"%d" % number),
            lists=("train",),
            tags=("cat",),
            mask_path=None,
            mask_sha256=None,
            position=number,
            width=8,
            height=8,
            split="train",
            shard=number,
            status="ok",
            reason="",
        )
        for number in range(count)
    )
    return Dataset(Classes(("cat",)), {0: 0, 1: 1}, "train", "val", 0.0, records, shard_size=1)


def mapped(factory: Factory, program: str = MAP, **variables: str) -> dict[str, Any]:
    """Plan and map in a process of the project, with these variables of the environment."""
    path = factory.folder / "map.py"
    path.write_text(program)
    # the worker's: its server's address, its home
    environment = {
        **psutil.Process(factory.pid("worker cpu")).environ(),
        "PYTHONPATH": str(factory.folder),
        **variables,
    }
    words = [sys.executable, str(path)]
    done = subprocess.run(words, cwd=factory.folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout.rsplit("RESULT", 1)[1].splitlines()[0])
    return result


def completed(factory: Factory) -> int:
    """Number of tasks that the server has recorded as finished."""
    counted: int = factory.api.post("/task_runs/count", {"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}})
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--only", choices=("line", "shards"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        if options.only != "shards":
            line(options.images, options.rounds, Path(top))
        if options.only != "line":
            shards(options.shards, Path(top))


if __name__ == "__main__":
    main()
