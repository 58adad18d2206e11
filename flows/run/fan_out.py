"""Spread the pending shards of a per-image stage over a cluster; afterwards the stage itself has nothing to do.

A shard is a task and is written atomically: a lost worker costs a retry. All workers share the project folder.
The clusters: `flows.run.clusters`.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import wait
from prefect.states import Completed, Failed

from flows.run.clusters import Kind, one_gpu_each, own_gpus, scratch_folder, task_runner
from labelfactory.console import say
from labelfactory.digests import digest_file
from labelfactory.errors import UserError
from labelfactory.files import make_folder
from labelfactory.lock import stage_lock
from labelfactory.settings.closure import code_of
from labelfactory.stage.per_image import PerImageStage
from labelfactory.stage.runner import build_stage, read_sections, stage_class

TRIES = 3
"""Tries of a shard, for lost workers."""


def is_per_image(name: str) -> bool:
    """Whether a stage works image by image."""
    return issubclass(stage_class(name), PerImageStage)


def may_spread(name: str) -> bool:
    """Whether a cluster may work on the shards of a stage."""
    kind = stage_class(name)
    return issubclass(kind, PerImageStage) and kind.on_cluster


def pending_shards(name: str) -> list[int]:
    """Numbers of the shards with pending rows."""
    return [plan.shard for plan in _stage(name).plan() if plan.changed]


def fan_out(name: str, shards: Sequence[int], kind: Kind) -> State[Any]:
    """Work on these shards of a stage on the cluster's workers, one task per shard."""
    gpus = own_gpus() if _stage(name).uses_gpu else ()
    with scratch_folder(kind) as scratch:
        over_cluster = spread.with_options(
            name=f"shards of {name}",
            flow_run_name=f"{len(shards)} shards of {name}",
            task_runner=task_runner(kind, gpus=gpus, scratch=scratch),
        )
        state: State[Any] = over_cluster(name, list(shards), os.fspath(Path.cwd()), kind, return_state=True)
    return state


@flow(validate_parameters=False, persist_result=False)
def spread(name: str, shards: list[int], folder: str, kind: Kind) -> State[Any]:
    """One task per shard."""
    with one_gpu_each(kind) if _stage(name).uses_gpu else nullcontext():
        futures = [work_on_shard.submit(name, shard, folder) for shard in shards]
    done, missing = wait(futures)
    failed = [shard for shard, future in zip(shards, futures, strict=True) if not future.state.is_completed()]
    if failed or missing:
        return Failed(message=f"{len(failed)} of {len(shards)} shards failed: {', '.join(map(str, failed[:20]))}")
    return Completed(message=f"{len(done)} shards")


@task(
    name="shard",
    task_run_name="{name} {shard:05d}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=TRIES - 1,
    retry_delay_seconds=1,
)
def work_on_shard(name: str, shard: int, folder: str) -> dict[str, int]:
    """Bring one shard up to date in this worker's process, which loads the stage and its networks once."""
    os.chdir(folder)
    os.environ["LABELFACTORY_WORKERS"] = "1"  # the cluster has one process per core already
    check_code(name)
    stage = _loaded(name, _inputs(name))
    with stage_lock(name, shared=True):
        make_folder(stage.output)
        return dict(stage.update(only=[shard]).__dict__)


_FIRST_SEEN: dict[str, str] = {}
"""Files of stages that this process has worked on → their digests when it loaded them."""


def check_code(name: str) -> None:
    """Check that this process, which may be older than the last change of the code, would run what is on disk.

    Raises:
        UserError: a file of the stage has changed since this process loaded it; its rows would have the key of the new code.
    """
    for path, digest in code_of(f"stages.{name}", _stage(name).methods()).items():
        if _FIRST_SEEN.setdefault(path, digest) != digest:
            raise UserError(
                f"{name}: {path} has changed since this worker of the cluster loaded it",
                "Restart the cluster's workers, and type the command again.",
            )


@cache
def _loaded(name: str, inputs: str) -> PerImageStage[Any]:
    """The stage; its `setup` runs once. Other `inputs` load it again, so that no older networks are used."""
    stage = _stage(name)
    say(f"{name}: process {os.getpid()} works on shards")
    setup = cache(stage.setup)
    stage.setup = setup  # type: ignore[method-assign]
    return stage


def _inputs(name: str) -> str:
    """Differs if params, code, data set or checkpoints differ."""
    stage = _stage(name)
    dataset = digest_file(stage.folder("dataset") / "images.parquet")
    return repr((stage.cfg.digest(), stage.code_digest, dataset, sorted(stage.fixed().items())))


def _stage(name: str) -> PerImageStage[Any]:
    stage: PerImageStage[Any] = build_stage(name, read_sections())
    return stage
