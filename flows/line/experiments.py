"""A variant of the line as a DVC experiment, in its own folder, so that neither the workspace nor its data change.

The folder gets the parameters that were planned. All else in it is compared with what was planned before the first stage runs: the
name of an experiment is a digest of both, so no other result ever stands under it.
"""

import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dvc.repo import Repo, lock_repo
from dvc.repo.experiments.executor.local import TempDirExecutor
from dvc.repo.experiments.utils import resolve_name
from dvc.utils.serialize import modify_yaml

from flows.line.experiment_inputs import GIVEN, code_files, inputs_in
from flows.line.put_aside import noted
from labelfactory.dataset.manifest import read_manifest
from labelfactory.digests import digest_json
from labelfactory.errors import UserError
from labelfactory.lock import project_lock
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.wiring import LOCK_FILE, METRICS
from labelfactory.settings.yaml_text import parse_yaml

PREFIX = "sweep-"
AGAIN = "Type the same sweep again: it is planned anew."


def run_variant(
    repo: Repo, name: str, params: Mapping[str, Any], inputs: Mapping[str, str], stages: Sequence[str] = ()
) -> dict[str, float]:
    """Run the line with these params, or `stages` of it alone, unless the experiment exists.

    Args:
        repo: DVC.
        name: of the experiment.
        params: all of params.yaml, as planned.
        inputs: `inputs_in` this folder for these stages, as planned.
        stages: those that run, in order, and no others; none for the whole line.

    Returns:
        Its metrics.

    Raises:
        DvcException: as `Repo.reproduce`.
        UserError: this folder is not as planned any more, or an experiment of this name was made with other parameters.
    """
    if _revision(repo, name) is None:
        queue = repo.experiments.tempdir_queue
        with ExitStack() as undo:
            only: dict[str, Any] = {"targets": list(stages), "single_item": True} if stages else {}
            with project_lock("labelfactory sweep"):
                with lock_repo(repo), noted():
                    _forget_older(queue)
                    entry = repo.experiments.queue_one(queue, name=name, **only)
                here = queue._standalone_tmp_dir
                executor = queue.init_executor(repo.experiments, entry, TempDirExecutor, wdir=here)
                undo.callback(executor.cleanup)
                folder = Path(executor.root_dir)
                _fill(folder, params, inputs, stages)
                photographs = photograph_folders(
                    path for e in read_manifest().entries for path in (e.path, e.mask_path) if path
                )
            # git may take a file for unchanged that was written in the same moment
            executor.scm.add([str(folder.resolve() / PARAMS_FILE)])
            for path in photographs:  # not while others wait: they are read by their digests
                _copy(path, folder / path)
            undo.pop_all()
        queue._reproduce_entry(entry, executor)  # DVC's own loop would run whatever else is queued
    _check_params(repo, name, params)
    return _metrics(repo, name)


def _forget_older(queue: Any) -> None:
    """Remove what a killed sweep has queued: nobody knows any more what its import was."""
    older = [entry.name for entry in queue.iter_queued() if (entry.name or "").startswith(PREFIX)]
    if older:
        queue.remove(older)


def _fill(folder: Path, params: Mapping[str, Any], inputs: Mapping[str, str], stages: Sequence[str]) -> None:
    """Give an experiment's folder what git and DVC do not, and the planned params; the caller holds the project.

    dvc.lock may not be committed: without it every stage would run again.

    Raises:
        UserError: what is in it then is not what was planned.
    """
    for path in (LOCK_FILE, *GIVEN, *(file for file in code_files(Path()) if not (folder / file).exists())):
        _copy(path, folder / path)
    with modify_yaml(folder / PARAMS_FILE) as values:
        become(values, params)
    found = {**inputs_in(folder, stages), PARAMS_FILE: digest_json(read_yaml(folder / PARAMS_FILE))}
    planned = {**inputs, PARAMS_FILE: digest_json(params)}
    changed = [name for name in {**planned, **found} if planned.get(name) != found.get(name)]
    if changed:
        raise UserError(f"changed since the sweep was planned: {', '.join(sorted(changed))}", AGAIN)


def become(values: Any, wanted: Mapping[str, Any]) -> None:
    """Change a mapping of YAML into another one; comments of what is in both stay."""
    for key in [key for key in values if key not in wanted]:
        del values[key]
    for key, value in wanted.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), Mapping):
            become(values[key], value)
        elif key not in values or values[key] != value or type(values[key]) is not type(value):
            values[key] = value


def photograph_folders(paths: Iterable[str]) -> list[Path]:
    """Folders of photographs and true masks inside the project, which an experiment's folder needs."""
    inside = (Path(path).parts for path in paths if not Path(path).is_absolute() and ".." not in Path(path).parts)
    return sorted({Path(*parts[:2]) for parts in inside} - set(GIVEN))


def _copy(path: Path, to: Path) -> None:
    """Copy a file or a folder, if it is there, over what git has put into an experiment's folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, to, dirs_exist_ok=True)
    elif path.exists():
        shutil.copy(path, to)


def _revision(repo: Repo, name: str) -> str | None:
    """The commit of an experiment; None where there is none."""
    reference = resolve_name(repo.scm, name).get(name)
    revision: str | None = None if reference is None else repo.scm.get_ref(str(reference))
    return revision


def _check_params(repo: Repo, name: str, params: Mapping[str, Any]) -> None:
    """Check that an experiment was made with the parameters that its name stands for. Raises UserError."""
    shown = ["git", "show", f"{_revision(repo, name)}:{PARAMS_FILE}"]
    text = subprocess.run(shown, capture_output=True, text=True, timeout=300, check=False).stdout
    if digest_json(parse_yaml(text, f"{name}:{PARAMS_FILE}", AGAIN)) != digest_json(params):
        remedy = f"Type `dvc exp remove {name}`, then the same sweep again."
        raise UserError(f"the experiment {name} was made with other parameters than its name stands for", remedy)


def _metrics(repo: Repo, name: str) -> dict[str, float]:
    revisions: dict[str, Any] = repo.metrics.show(revs=[name])
    files = next(iter(content["data"] for revision, content in revisions.items() if revision != "workspace"))
    metrics: dict[str, float] = files[METRICS.as_posix()]["data"]
    return metrics
