"""A variant of the line as a DVC experiment, in its own folder, so that neither the workspace nor its data change."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dvc.repo import Repo, lock_repo
from dvc.repo.experiments.utils import resolve_name
from dvc.utils.cli_parse import to_path_overrides

from flows.line.put_aside import noted
from labelfactory.dataset.manifest import read_manifest
from labelfactory.lock import project_lock
from labelfactory.settings.wiring import METRICS


def run_variant(repo: Repo, name: str, overrides: list[str], stages: list[str]) -> dict[str, float]:
    """Run the line with other params, or `stages` of it alone, unless the experiment exists.

    Returns:
        Its metrics.

    Raises:
        DvcException: as `Repo.reproduce`.
    """
    if not _exists(repo, name):
        queue = repo.experiments.tempdir_queue
        with project_lock("labelfactory sweep"), lock_repo(repo), noted():
            only: dict[str, Any] = {"targets": stages, "single_item": True} if stages else {}
            repo.experiments.queue_one(queue, params=to_path_overrides(overrides), name=name, **only)
        paths = [entry.path for entry in read_manifest().entries]
        queue.reproduce(copy_paths=list(copied_paths(paths)))
    return _metrics(repo, name)


def copied_paths(paths: Sequence[str]) -> Iterator[str]:
    """Paths that an experiment's folder needs beside those of git and DVC: the import, corrections, and photographs in the project.

    Also dvc.lock, which may not be committed: without it every stage would run again.
    """
    yield from ("dvc.lock", "data/import", "data/corrections")
    inside = (Path(path).parts for path in paths if not Path(path).is_absolute() and ".." not in Path(path).parts)
    folders = {Path(*parts[:2]) for parts in inside}
    yield from sorted(str(folder) for folder in folders)


def _exists(repo: Repo, name: str) -> bool:
    return resolve_name(repo.scm, name).get(name) is not None


def _metrics(repo: Repo, name: str) -> dict[str, float]:
    revisions: dict[str, Any] = repo.metrics.show(revs=[name])
    files = next(iter(content["data"] for revision, content in revisions.items() if revision != "workspace"))
    metrics: dict[str, float] = files[METRICS.as_posix()]["data"]
    return metrics
