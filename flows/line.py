"""The line under DVC: run it, ask what is stale and why, freeze what must not be trained again.

DVC is the judge of what is stale; this file only asks and orders it. Bare `dvc repro` does the same as `reproduce`.
"""

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException, ReproductionError
from dvc.repo import Repo

from labelfactory.errors import LabelfactoryError, UserError
from labelfactory.params import read_yaml
from labelfactory.wiring import read_wiring

LEARNING = (
    "train_classifier",
    "calibrate_seeds",
    "train_affinity",
    "calibrate_walks",
    "train_segmenter",
    "train_upper_bound",
)
"""Stages that learn something from the whole data set: what `--no-retrain` freezes."""


class StageFailedError(LabelfactoryError):
    """A stage ended with an error; it has said which."""

    def __init__(self, stage: str, exit_code: int) -> None:
        super().__init__(f"the stage {stage} failed")
        self.stage, self.exit_code = stage, exit_code


@dataclass(frozen=True)
class StageState:
    """What DVC says of a stage: `up to date`, `stale`, `never run` or `frozen`, and why."""

    name: str
    state: str
    reasons: tuple[str, ...]


def reproduce(targets: Sequence[str] = (), *, retrain: bool = True, force: bool = False) -> list[str]:
    """Bring stages and what they need up to date.

    Args:
        targets: names of stages; none means the whole line.
        retrain: whether the stages that learn may run; if not, the models stay as they are.
        force: run even what is up to date.

    Returns:
        Names of the stages that ran, in order.

    Raises:
        StageFailedError: a stage failed, with its exit code.
        UserError: DVC refuses, or the models are to stay although there are none.
    """
    with _repo() as repo, _frozen(repo, () if retrain else LEARNING):
        try:
            ran = repo.reproduce(targets=list(targets) or None, force=force)
        except ReproductionError as error:
            raise StageFailedError(*_blame(error)) from error
        except DvcException as error:
            raise UserError(f"DVC: {' '.join(str(error).split())}", "Type `labelfactory status`.") from error
    return [stage.addressing for stage in ran]


def line_status() -> list[StageState]:
    """The state of every stage, in the order of the line."""
    with _repo() as repo:
        changed = repo.status()
        frozen = {stage.addressing for stage in repo.index.stages if stage.frozen}
        known = locked_stages()
    states = []
    for name in read_wiring():
        reasons = tuple(_reasons(changed.get(name, [])))
        if name in frozen:
            states.append(StageState(name, "frozen", reasons))
        elif name not in known:
            states.append(StageState(name, "never run", ()))
        else:
            states.append(StageState(name, "stale" if reasons else "up to date", reasons))
    return states


def locked_stages() -> set[str]:
    """Names of the stages that have run at least once, by dvc.lock."""
    path = Path("dvc.lock")
    return set(read_yaml(path).get("stages", {})) if path.exists() else set()


def _reasons(entries: Sequence[object]) -> Iterator[str]:
    """DVC's nested answer as phrases: `params.yaml refine_crf.gt_prob: modified`, `data/cams: modified`."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for kind, changes in entry.items():  # type: ignore[attr-defined]
            what = {"changed deps": "", "changed outs": "output "}.get(kind, f"{kind} ")
            for path, change in changes.items():
                if isinstance(change, dict):
                    for key, word in _flat(change):
                        yield f"{what}{path} {key}: {word}"
                else:
                    yield f"{what}{path}: {change}"


def _flat(change: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in change.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _repo() -> Iterator[Repo]:
    """DVC's view of this folder; its stages run with this environment's Python."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        repo = Repo(".")
    except DvcException as error:
        remedy = "Run the command in the project's root folder, in a clone of its git repository."
        raise UserError(f"DVC: {error}", remedy) from error
    with repo:
        yield repo


@contextmanager
def _frozen(repo: Repo, names: Sequence[str]) -> Iterator[None]:
    """Freeze stages in dvc.yaml while the block runs; what an interrupted run left frozen is released first.

    Raises:
        UserError: a stage that has never run would stay without output.
    """
    for stage in list(repo.index.stages):
        if stage.frozen and stage.addressing in LEARNING:
            repo.unfreeze(stage.addressing)
    missing = sorted(set(names) - locked_stages())
    if missing:
        raise UserError(
            f"--no-retrain: there are no models yet: {', '.join(missing)} never ran", "Type `labelfactory run` first."
        )
    try:
        for name in names:
            repo.freeze(name)
        yield
    finally:
        for name in names:
            repo.unfreeze(name)


def _blame(error: ReproductionError) -> tuple[str, int]:
    """Which stage failed, and its exit code: 2 where its user can mend it. DVC says both only in its messages."""
    name = str(error).removeprefix("failed to reproduce ").strip("'")
    found = re.search(r"exited with (\d+)", str(error.__cause__))
    if found is None:
        raise UserError(f"DVC: {name}: {error.__cause__}", "Type `labelfactory status`.") from error
    return name, int(found.group(1))
