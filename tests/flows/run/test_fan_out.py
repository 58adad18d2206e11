"""Shards over real clusters of two processes, Dask's and Ray's: the same bytes as one process, though one is killed half-way."""

import hashlib
import itertools
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from factory import Factory, one_image_a_shard, running_in, serving, wait_until
from small_line import small_project
from workspace import call, copy_workspace

pytestmark = [pytest.mark.slow, pytest.mark.endurance, pytest.mark.starts_cluster, pytest.mark.timeout(900)]

IMAGES, TRAIN = 16, 12
SLOWER = {"extract_cams__scales": "[3.0, 2.0]", "extract_cams__precision": "32-true"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """16 images, those of the list train in a shard of their own each; the classifier is trained."""
    folder = small_project(tmp_path_factory.mktemp("fan_out") / "trained", IMAGES, **SLOWER)
    one_image_a_shard(folder)
    call(folder, "labelfactory", "run", "train_classifier")
    return folder


@pytest.fixture(scope="module")
def alone(trained) -> dict[str, str]:
    """What a single process makes of it."""
    folder = copy_workspace(trained, trained.parent / "alone")
    call(folder, "labelfactory", "run", "extract_cams")
    assert len(shards(folder)) == TRAIN
    return shards(folder)


@pytest.fixture(scope="module")
def factory(trained) -> Iterator[Factory]:
    """A copy of it, with server and worker; clusters that it starts have two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELFACTORY_WORKERS", "2")
        with serving(copy_workspace(trained, trained.parent / "spread")) as factory:
            yield factory


@pytest.fixture
def fresh(factory, trained) -> Factory:
    """The same, as if extract_cams had never run there."""
    shutil.rmtree(factory.folder / "data/cams", ignore_errors=True)
    shutil.rmtree(factory.folder / ".dvc/cache/runs", ignore_errors=True)
    shutil.copyfile(trained / "dvc.lock", factory.folder / "dvc.lock")
    return factory


def shards(folder: Path) -> dict[str, str]:
    """SHA-256 of each finished shard."""
    files = sorted((folder / "data/cams").glob("shard-*.parquet"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def cluster_workers(folder: Path, kind: str) -> list[int]:
    """Processes that work on shards: Ray names its own; Dask's alone are spawned where one process works."""
    if kind == "ray":
        return running_in(folder, "ray::shard")
    return [pid for pid in running_in(folder, "spawn_main") if psutil.Process(pid).memory_info().rss > 200 * 2**20]


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_two_workers_of_which_one_is_killed_write_the_same_bytes(alone, fresh, kind):
    """The shards of the lost worker are worked on again; then the stage finds nothing pending. A process loads once."""
    before = len(fresh.log("worker cpu"))
    run = fresh.type("run", "extract_cams", "--on", "cpu", "--runner", kind).strip().rsplit("/", 1)[-1]

    def loaded() -> list[int]:
        said = fresh.log("worker cpu")[before:]
        return [int(pid) for pid in re.findall(r"extract_cams: process (\d+) works on shards", said)]

    def at_work() -> list[int]:
        return [pid for pid in cluster_workers(fresh.folder, kind) if pid in loaded()]

    wait_until(lambda: len(shards(fresh.folder)) >= 2 and at_work(), lambda: fresh.log("worker cpu")[-3000:])
    killed = at_work()[0]
    os.kill(killed, signal.SIGKILL)
    assert len(shards(fresh.folder)) < TRAIN  # half-way
    done = fresh.wait(run)
    assert done["state"]["type"] == "COMPLETED", done["state"]
    log = fresh.log("worker cpu")[before:]
    assert f"extract_cams on the cluster: {TRAIN} shards" in log, log
    assert "extract_cams: every row is up to date" in log
    assert len(loaded()) == len(set(loaded())) < TRAIN / 2
    assert killed in loaded()
    assert shards(fresh.folder) == alone


GPUS = """
import os, sys, time
from prefect import flow, task
from flows.run.clusters import one_gpu_each, scratch_folder, task_runner

@task
def seen():
    began = time.time()
    time.sleep(0.5)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], began, time.time()

@flow
def ask(kind):
    with one_gpu_each(kind):
        futures = [seen.submit() for _ in range(6)]
    with open("seen.txt", "w") as file:  # programs of the cluster print into the middle of a line
        for future in futures:
            print(*future.result(), file=file)

kind = sys.argv[1]
with scratch_folder(kind) as scratch:
    ask.with_options(task_runner=task_runner(kind, gpus=["4", "5"], scratch=scratch))(kind)
"""


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_cluster_of_this_machine_gives_each_task_a_gpu_of_its_own(factory, kind, monkeypatch):
    """Two of them, as far as the cluster can tell: two processes that see one each, for three tasks one after the other."""
    monkeypatch.setenv("PREFECT_API_URL", factory.api.url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", factory.login)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    said = call(factory.folder, "python", "-c", GPUS, kind)
    seen = [line.split() for line in (factory.folder / "seen.txt").read_text().splitlines()]
    assert len(seen) == 6, said
    assert {gpu for _, gpu, _, _ in seen} == {"4", "5"}
    for gpu in ("4", "5"):
        spans = sorted((float(began), float(ended)) for _, one, began, ended in seen if one == gpu)
        assert all(ended <= began for (_, ended), (began, _) in itertools.pairwise(spans)), seen
    assert len({process for process, *_ in seen}) == 2, seen
