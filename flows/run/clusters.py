"""Clusters that work on shards: Dask's or Ray's, one that the environment names, or one of this machine's own.

Who has GPUs says so by the cluster's own means, and the cluster gives each shard of a stage that uses them one of its own:
Dask's workers by the resource `GPU`, Ray by its count of GPUs.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

import torch
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner

from labelfactory.devices import pick_device, workers
from labelfactory.errors import UserError

Kind = Literal["dask", "ray"]
ADDRESS = {"dask": "LABELFACTORY_DASK", "ray": "LABELFACTORY_RAY"}
"""Environment: a Dask scheduler such as tcp://HOST:8786, a Ray cluster such as HOST:6379 or ray://HOST:10001."""
GPU = "GPU"
"""The resource of Dask's workers, one a GPU."""
HOST = "127.0.0.1"
OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's shared memory: shards travel through the project's folder, so that it stays nearly empty."""


def task_runner(kind: Kind, *, gpus: Sequence[str]) -> TaskRunner[Any]:
    """A task runner over the cluster that the environment names, or over one of this machine that ends with the run.

    Args:
        kind: which.
        gpus: ids of this machine's GPUs that a cluster of its own is to use; none for work on the CPU.

    Raises:
        UserError: the library is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: nothing calls home,
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # and what workers say is shown as they say it
    try:
        runners = import_module(f"prefect_{kind}.task_runners")  # only who fans out needs it
        import_module("distributed" if kind == "dask" else kind)
    except ImportError as error:
        raise UserError(
            f"--runner {kind}: it cannot be loaded ({error})",
            f"Type `pip install -c constraints.txt -e '.[{kind}]'`.",
        ) from None
    address = os.environ.get(ADDRESS[kind])
    runner: TaskRunner[Any]
    if kind == "ray":
        runner = runners.RayTaskRunner(address=address, init_kwargs={} if address else ray_settings(gpus))
    elif address:
        runner = runners.DaskTaskRunner(address=address)
    elif gpus:
        runner = runners.DaskTaskRunner(cluster_class=gpu_cluster, cluster_kwargs={"gpus": tuple(gpus)})
    else:
        settings = {"n_workers": workers(), "threads_per_worker": 1, "dashboard_address": None, "host": HOST}
        runner = runners.DaskTaskRunner(cluster_kwargs=settings)
    return runner


def ray_settings(gpus: Sequence[str]) -> dict[str, Any]:
    """How a Ray of this machine is started: as many processes as a run on this machine has, on loopback, without its web page."""
    return {
        "num_cpus": workers(),
        "num_gpus": len(gpus),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": HOST,
    }


def gpu_cluster(gpus: Sequence[str]) -> Any:
    """A Dask cluster of this machine with one process a GPU, which sees that GPU and no other."""
    from distributed import SpecCluster

    return SpecCluster(workers=gpu_workers(gpus), scheduler=_scheduler())


def gpu_workers(gpus: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Dask's description of those processes."""
    from distributed import Nanny

    return {
        f"gpu-{gpu}": {
            "cls": Nanny,
            "options": {
                "nthreads": 1,
                "host": HOST,
                "resources": {GPU: 1},
                "env": {"CUDA_VISIBLE_DEVICES": gpu},
                "dashboard": False,
            },
        }
        for gpu in gpus
    }


def _scheduler() -> dict[str, Any]:
    from distributed import Scheduler

    return {"cls": Scheduler, "options": {"host": HOST, "dashboard": False}}


def own_gpus() -> list[str]:
    """Ids of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    device = pick_device()
    if device.type != "cuda":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    ids = [part.strip() for part in named.split(",") if part.strip()] or [
        str(k) for k in range(torch.cuda.device_count())
    ]
    return ids if device.index is None else [ids[device.index]]


@contextmanager
def one_gpu_each(kind: Kind) -> Iterator[None]:
    """Tasks that are submitted in the body get a GPU of their own, where the cluster has any. For use inside of a flow."""
    if kind == "ray":
        import ray
        from prefect_ray.context import remote_options

        if ray.cluster_resources().get("GPU", 0) < 1:
            yield
            return
        # 0: the process stays for the next shard, with its network; Ray would end one that used a GPU after each task
        with remote_options(num_gpus=1, max_calls=0):
            yield
        return
    import dask

    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("outside of a flow there is no task runner to ask for GPUs")
    runner: Any = context.task_runner
    workers = runner.client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(worker.get("resources", {}).get(GPU) for worker in workers):
        yield
        return
    with dask.annotate(resources={GPU: 1}):
        yield
