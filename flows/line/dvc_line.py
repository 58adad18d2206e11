"""The line under DVC: run stages, query what is stale and why, freeze stages that must not be trained again.

DVC alone decides what is stale. `dvc repro` does the same as `reproduce`.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from dvc.exceptions import DvcException, ReproductionError
from dvc.lock import LockError
from dvc.repo import Repo, lock_repo
from networkx import descendants

from flows.line.experiments import run_variant
from flows.line.failure import StageFailedError
from labelfactory.errors import UserError
from labelfactory.interrupt import LOOK_SECONDS, Interrupted, end_children, hold_signals
from labelfactory.lock import BusyError, stage_lock
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.wiring import DATA, WIRING_FILE, last_runs, read_wiring


@dataclass(frozen=True)
class StageState:
    """DVC's state of a stage: `up to date`, `stale`, `never run` or `frozen`, and the reasons."""

    name: str
    state: str
    reasons: tuple[str, ...]


def reproduce(
    targets: Sequence[str] = (), *, retrain: bool = True, force: bool = False, held: Repo | None = None
) -> list[str]:
    """Bring stages and what they need up to date.

    Args:
        targets: names of stages; none means the whole line.
        retrain: whether training and calibrating stages may run; if not, the models stay as they are.
        force: run stages that are up to date too.
        held: the repository, if this process holds its lock (`held_line`).

    Returns:
        Names of the stages that ran, in order.

    Raises:
        StageFailedError: a stage failed, with its exit code.
        UserError: DVC refuses, or `retrain` is false and there are no models.
        KeyboardInterrupt: this process or the stage was told to end. No stage runs any more.
    """
    # in a thread: in the main one, DVC ignores SIGINT while a stage runs
    with ThreadPoolExecutor(1, initializer=hold_signals) as thread:
        run = thread.submit(_reproduce, targets, retrain=retrain, force=force, held=held)
        try:
            wait([run])
        except KeyboardInterrupt:
            while not run.done():  # DVC may be between two stages, and start the next one
                end_children(psutil.Process().children())
                wait([run], LOOK_SECONDS)
            raise Interrupted(told=_has_told(run)) from run.exception()
        if _has_told(run):
            raise Interrupted(told=True) from run.exception()
        return run.result()


def _has_told(run: "Future[list[str]]") -> bool:
    """Whether a stage was interrupted and has printed the message."""
    error = run.exception()
    return isinstance(error, StageFailedError) and error.interrupted


def _reproduce(targets: Sequence[str], *, retrain: bool, force: bool, held: Repo | None) -> list[str]:
    with open_repo() if held is None else nullcontext(held) as repo, _failures_named(), lock_repo(repo), _calm():
        if not retrain:
            _freeze_learning(repo, targets)
        ran = repo.reproduce(targets=list(targets) or None, force=force)
    return [stage.addressing for stage in ran]


class HeldLine:
    """The line while nobody else runs it."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def reproduce(self) -> list[str]:
        """Bring the whole line up to date; gives and raises as `reproduce`."""
        self._repo._reset()  # its view of the files is that of the moment when the lock was taken
        return reproduce(held=self._repo)


@contextmanager
def held_line() -> Iterator[HeldLine]:
    """Hold DVC's lock, while no stage is at work: for a command that changes what stages read and write.

    Raises:
        BusyError: another process runs the line, a stage of it, or a sweep.
    """
    with open_repo() as repo:
        with _failures_named(), ExitStack() as held:
            held.enter_context(lock_repo(repo))
            locks = held.pop_all()
        with locks:
            for name in (
                *read_wiring(),
                "sweep",
            ):  # a stage that somebody started by hand, or a sweep, holds this lock alone
                with stage_lock(name):
                    pass
            yield HeldLine(repo)


class Line:
    """The line, one stage at a time, for a caller that acts between stages."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def order(self, targets: Sequence[str] = (), *, retrain: bool = True) -> list[str]:
        """Names of the stages that `reproduce` would check, in the order of the line. Without retraining, frozen stages are
        left out.

        Raises:
            UserError: as `reproduce`.
        """
        with _failures_named():
            graph = self._repo.index.graph
            wanted = [s for t in targets for s in self._repo.stage.collect(t)] if targets else list(graph.nodes)
            needed = {stage.addressing for stage in wanted}
            needed |= {parent.addressing for stage in wanted for parent in descendants(graph, stage)}
        if not retrain:
            _check_models(targets)
            needed -= set(read_wiring().learning)
        return [name for name in read_wiring() if name in needed]

    def bring_up_to_date(self, stage: str, *, force: bool = False) -> bool:
        """Bring one stage up to date; those before it must be. Returns whether it ran.

        Raises:
            StageFailedError, UserError: as `reproduce`.
        """
        with _failures_named():
            return bool(self._repo.reproduce(targets=[stage], single_item=True, force=force))

    def vary(self, name: str, overrides: Sequence[str]) -> dict[str, float]:
        """Run the line with other params as the DVC experiment `name`, unless it exists. Returns its metrics.

        Raises:
            StageFailedError, UserError: as `reproduce`.
        """
        with _failures_named():
            return run_variant(self._repo, name, list(overrides))

    def stale(self, stages: Sequence[str]) -> list[str]:
        """Those of these stages that are stale now, whatever earlier stages will make.

        Raises:
            UserError: as `reproduce`.
        """
        with _failures_named():
            changed = self._repo.status(targets=list(stages)) if stages else {}
        return [stage for stage in stages if stage in changed]


@contextmanager
def open_line() -> Iterator[Line]:
    """The line of this folder, with DVC opened once for all stages."""
    with open_repo() as repo:
        yield Line(repo)


@contextmanager
def _calm() -> Iterator[None]:
    """Show only DVC's warnings and errors: each stage prints its own line."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _failures_named() -> Iterator[None]:
    """Turn DVC's errors into errors for users."""
    try:
        yield
    except ReproductionError as error:
        raise StageFailedError(*_blame(error)) from error
    except LockError as error:
        raise BusyError("another run in this folder holds DVC's lock", _WAIT) from error
    except DvcException as error:
        raise UserError(f"DVC: {' '.join(str(error).split())}", _ASK_DVC) from error


_ASK_DVC = "Mend what DVC names; `dvc status -v` shows more."
_WAIT = "Wait until it is done, then type the same command again; a run that was killed leaves no lock."


def line_status() -> list[StageState]:
    """The state of every stage, in the order of the line."""
    with open_repo() as repo, _failures_named():
        changed = repo.status()
        frozen = {stage.addressing for stage in repo.index.stages if stage.frozen}
        known = locked_stages()
    states = []
    for name in read_wiring():
        reasons = tuple(_reasons(name, changed.get(name, [])))
        if name in frozen:
            states.append(StageState(name, "frozen", reasons))
        elif name not in known:
            states.append(StageState(name, "never run", ()))
        else:
            states.append(StageState(name, "stale" if reasons else "up to date", reasons))
    return states


def locked_stages() -> set[str]:
    """Names of the stages that have run at least once, by dvc.lock."""
    return set(last_runs())


def _reasons(name: str, entries: Sequence[object]) -> Iterator[str]:
    """DVC's nested status as phrases: `params.yaml refine_crf.gt_prob: 0.7 → 0.8`, `data/cams: modified`."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        for kind, changes in entry.items():  # type: ignore[attr-defined]
            what = {"changed deps": "", "changed outs": "output "}.get(kind, f"{kind} ")
            for path, change in changes.items():
                if path == PARAMS_FILE and isinstance(change, dict):
                    yield from _changed_params(name, change)
                else:
                    yield f"{what}{path}: {change}"


def _changed_params(name: str, sections: Mapping[str, object]) -> Iterator[str]:
    """Each changed key in the sections of params.yaml that a stage reads, since its last run."""
    before = last_runs().get(name, {}).get("params", {}).get(PARAMS_FILE, {})
    now = read_yaml(Path(PARAMS_FILE))
    for section, word in sections.items():
        old, new = _flat(before.get(section, {}), section), _flat(now.get(section, {}), section)
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        for key in keys:
            yield f"{PARAMS_FILE} {key}: {old.get(key, 'not there')} → {new.get(key, 'not there')}"
        if not keys:
            yield f"{PARAMS_FILE} {section}: {word}"


def _flat(values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Dotted name → value, for all values in a nested mapping."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}"
        flat |= _flat(value, name) if isinstance(value, Mapping) else {name: value}
    return flat


@contextmanager
def open_repo() -> Iterator[Repo]:
    """DVC's view of this folder; its stages run with this environment's Python."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        repo = Repo(".")
    except DvcException as error:
        remedy = "Run the command in the project's root folder, in a clone of its git repository."
        raise UserError(f"DVC: {error}", remedy) from error
    _check_files()
    with repo:
        _refuse_other_stages(repo)
        yield repo


def _refuse_other_stages(repo: Repo) -> None:
    """Refuse stages of files that came with photographs: DVC collects and runs those of every dvc.yaml and *.dvc below.

    .dvcignore leaves them out; a project may have one of its own.

    Raises:
        UserError: there is such a file, or DVC cannot read one.
    """
    try:
        files = {Path(stage.path_in_repo) for stage in repo.index.stages}
    except DvcException as error:
        raise UserError(f"DVC: {' '.join(str(error).split())[:500]}", "Mend that file.") from error
    for path in sorted(files - {WIRING_FILE}):
        if path.parent != DATA or path.suffix != ".dvc":
            remedy = "Move it out of the project, or name it in .dvcignore."
            raise UserError(
                f"{path}: DVC would run the stages in it, which are not of this project's {WIRING_FILE}", remedy
            )


def _check_files() -> None:
    """Read the files that DVC reads, which it does without limits of depth and size. Raises ParamsError."""
    if WIRING_FILE.exists():
        read_wiring()
    if Path(PARAMS_FILE).exists():
        read_yaml(Path(PARAMS_FILE))
    last_runs()


def _freeze_learning(repo: Repo, targets: Sequence[str]) -> None:
    """Freeze training and calibrating stages in DVC's memory alone: dvc.yaml is not changed, so a kill leaves nothing frozen.

    The caller holds the repository's lock: DVC reads its stages again when it takes one.

    Raises:
        UserError: such a stage has never run, or is one of `targets`.
    """
    _check_models(targets)
    learning = read_wiring().learning
    for stage in repo.index.stages:
        if stage.addressing in learning:
            stage.frozen = True


def _check_models(targets: Sequence[str]) -> None:
    """Check that the stages to be frozen have run and are not among `targets`."""
    learning = read_wiring().learning
    named = sorted(set(targets) & set(learning))
    if named:
        raise UserError(f"--no-retrain leaves {', '.join(named)} as it is", "Name other stages, or none.")
    missing = [name for name in learning if name not in locked_stages()]
    if missing:
        raise UserError(
            f"--no-retrain: there are no models yet: {', '.join(missing)} never ran", "Type `labelfactory run` first."
        )


def _blame(error: ReproductionError) -> tuple[str, int]:
    """The name of the stage that failed, and its exit code: 2 if its user can mend it, below 0 for a signal.

    DVC gives both only in its messages.
    """
    name = str(error).removeprefix("failed to reproduce ").strip("'")
    code = re.search(r"exited with (-?\d+)", str(error.__cause__))
    if code is None:
        raise UserError(f"DVC: {name}: {error.__cause__}", _ASK_DVC) from error
    return name, int(code.group(1))
