"""Dask and Ray clusters that work on shards: one named by the environment, or one on this machine.

Each shard of a stage that uses GPUs gets one GPU of the cluster: of Dask, workers with the resource `GPU`; of Ray, its own
GPUs.
"""

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner

from labelfactory.devices import pick_device, workers
from labelfactory.errors import UserError
from labelfactory.files import make_folder

Kind = Literal["dask", "ray"]
ADDRESS = {"dask": "LABELFACTORY_DASK", "ray": "LABELFACTORY_RAY"}
"""Environment: a Dask scheduler such as tcp://HOST:8786, a Ray cluster such as HOST:6379 or ray://HOST:10001."""
GPU = "GPU"
"""The resource of Dask's workers, one per GPU."""
HOST = "127.0.0.1"
OBJECT_STORE_BYTES = 100 * 2**20
"""Ray's shared memory, which stays nearly empty: shards are files in the project's folder."""


@contextmanager
def scratch_folder(kind: Kind) -> Iterator[Path]:
    """A folder for the temporary files of a cluster on this machine, in one that only this user can enter; deleted at the end.

    Both libraries make theirs below the folder that all users share, under names that anybody foretells, and load code from
    there or write into it later: who was there first would be who says what they are. Ray opens its own to all users, and its
    sockets need a short path.
    """
    parent = Path(os.environ.get("RAY_TMPDIR", "/tmp") if kind == "ray" else tempfile.gettempdir())
    make_folder(parent)
    with tempfile.TemporaryDirectory(prefix="lf-", dir=parent, ignore_cleanup_errors=True) as closed:
        yield Path(closed) / kind


def task_runner(kind: Kind, *, gpus: Sequence[str], scratch: Path) -> TaskRunner[Any]:
    """A task runner on the cluster that the environment names, or on one of this machine that ends with the run.

    Args:
        kind: dask or ray.
        gpus: ids of this machine's GPUs for a cluster of its own; empty for work on the CPU.
        scratch: for temporary files of a cluster of its own, `scratch_folder`.

    Raises:
        UserError: the library is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray is imported: no usage statistics,
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # and no merged log lines
    address = os.environ.get(ADDRESS[kind])
    if kind == "ray" and not address:
        os.environ["RAY_AUTH_MODE"] = "token"  # that of Ray's own making lies in a file that others may read
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        runners = import_module(f"prefect_{kind}.task_runners")  # loaded only for a cluster
        import_module("distributed" if kind == "dask" else kind)
    except ImportError as error:
        raise UserError(
            f"--runner {kind}: it cannot be loaded ({error})",
            f"Type `pip install -c constraints.txt -e '.[{kind}]'`.",
        ) from None
    if kind == "dask":
        _keep_files_in(scratch)
    runner: TaskRunner[Any]
    if kind == "ray":
        runner = runners.RayTaskRunner(address=address, init_kwargs={} if address else ray_settings(gpus, scratch))
    elif address:
        runner = runners.DaskTaskRunner(address=address)
    elif gpus:
        runner = runners.DaskTaskRunner(cluster_class=gpu_cluster, cluster_kwargs={"gpus": tuple(gpus)})
    else:
        settings = {"n_workers": workers(), "threads_per_worker": 1, "dashboard_address": None, "host": HOST}
        # a scheduler without certificates runs what any user of this machine sends; these are new, and in memory alone
        runner = runners.DaskTaskRunner(cluster_kwargs={**settings, "security": True})
    return runner


def _keep_files_in(scratch: Path) -> None:
    """Have Dask's scheduler, its processes and those that watch over them make their folders there."""
    import dask

    dask.config.set({"temporary-directory": str(scratch)})


def ray_settings(gpus: Sequence[str], scratch: Path) -> dict[str, Any]:
    """Settings of a Ray on this machine: as many processes as a run without cluster, no web page.

    Ray listens on all addresses of the machine, whatever it is told: its token is what keeps others out.
    """
    return {
        "address": "local",  # without it Ray goes to the cluster that a file in a folder of all users names
        "_temp_dir": str(scratch),
        "num_cpus": workers(),
        "num_gpus": len(gpus),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }


def gpu_cluster(gpus: Sequence[str]) -> Any:
    """A Dask cluster on this machine with one process per GPU, which sees only that GPU."""
    from distributed import Scheduler, Security, SpecCluster

    own: Any = {"security": Security.temporary(), "protocol": "tls://"}  # as for a cluster without GPUs
    scheduler = {"cls": Scheduler, "options": {"host": HOST, "dashboard": False, **own}}
    return SpecCluster(workers=gpu_workers(gpus, own), scheduler=scheduler, security=own["security"])


def gpu_workers(gpus: Sequence[str], own: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Dask's specification of those processes, with the certificates of their cluster."""
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
                **own,
            },
        }
        for gpu in gpus
    }


def own_gpus() -> list[str]:
    """Ids of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    device = pick_device()
    if device.type != "cuda":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    ids = [part.strip() for part in visible.split(",") if part.strip()] or [
        str(k) for k in range(torch.cuda.device_count())
    ]
    return ids if device.index is None else [ids[device.index]]


@contextmanager
def one_gpu_each(kind: Kind) -> Iterator[None]:
    """Tasks submitted in the body get one GPU each, if the cluster has GPUs. For use inside a flow."""
    if kind == "ray":
        import ray
        from prefect_ray.context import remote_options

        if ray.cluster_resources().get("GPU", 0) < 1:
            yield
            return
        # 0: the process keeps its network for the next shard; by default Ray ends it after each task with a GPU
        with remote_options(num_gpus=1, max_calls=0):
            yield
        return
    import dask

    context = FlowRunContext.get()
    if context is None:
        raise RuntimeError("no task runner outside of a flow")
    runner: Any = context.task_runner
    workers = runner.client.scheduler_info(n_workers=-1)["workers"].values()
    if not any(worker.get("resources", {}).get(GPU) for worker in workers):
        yield
        return
    with dask.annotate(resources={GPU: 1}):
        yield
