"""Shards over a real Dask cluster of two processes: the same bytes as one process, though a worker is killed half-way."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from factory import Factory, one_image_a_shard, running_in, serving, small_project, wait_until
from workspace import call, copy_workspace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGES, TRAIN = 16, 12
SLOWER = {"extract_cams__scales": "[3.0, 2.0]", "extract_cams__precision": "32-true"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """16 images, those of the list train in a shard of their own each; the classifier is trained."""
    folder = small_project(tmp_path_factory.mktemp("fan_out") / "trained", IMAGES, **SLOWER)
    one_image_a_shard(folder)
    call(folder, "labelfactory", "run", "train_classifier")
    return folder


@pytest.fixture
def factory(trained) -> Iterator[Factory]:
    """A copy of it, with server and worker."""
    with serving(copy_workspace(trained, trained.parent / "spread")) as factory:
        yield factory


def shards(folder: Path) -> dict[str, str]:
    """SHA-256 of each finished shard."""
    files = sorted((folder / "data/cams").glob("shard-*.parquet"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def dask_workers(folder: Path) -> list[int]:
    """Processes that work on shards: the cluster's, as they alone are spawned where one process works."""
    return [pid for pid in running_in(folder, "spawn_main") if psutil.Process(pid).memory_info().rss > 200 * 2**20]


def test_two_workers_of_which_one_is_killed_write_the_same_bytes(trained, factory):
    """The shards of the lost worker are worked on again; then the stage itself finds nothing pending."""
    run = factory.type("run", "extract_cams", "--on", "cpu", "--runner", "dask").strip().rsplit("/", 1)[-1]
    wait_until(lambda: len(shards(factory.folder)) >= 2, lambda: factory.log("worker cpu")[-3000:])
    workers = dask_workers(factory.folder)
    assert workers, factory.log("worker cpu")[-3000:]
    os.kill(workers[0], signal.SIGKILL)
    done = factory.wait(run)
    assert done["state"]["type"] == "COMPLETED", done["state"]
    assert "extract_cams: every row is up to date" in factory.log("worker cpu")
    alone = copy_workspace(trained, trained.parent / "alone")
    call(alone, "labelfactory", "run", "extract_cams")
    assert len(shards(alone)) == TRAIN
    assert shards(factory.folder) == shards(alone)
