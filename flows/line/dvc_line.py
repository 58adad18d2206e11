"""The line under DVC: run stages, hold the line, freeze stages that must not be trained again.

DVC alone decides what is stale. `dvc repro` does the same as `reproduce`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import psutil
from dvc.repo import Repo, lock_repo
from networkx import descendants

from flows.line.data_sources import note_what_was_added
from flows.line.dvc_repo import failures_named, locked_stages, open_repo
from flows.line.experiments import run_variant
from flows.line.failure import StageFailedError
from flows.line.unused_inputs import ask_again, noted_unused
from flows.line.warm_start import warm_starts
from labelfactory.console import say
from labelfactory.errors import UserError
from labelfactory.interrupt import LOOK_SECONDS, Interrupted, end_children, hold_signals
from labelfactory.lock import stage_lock
from labelfactory.settings.wiring import read_wiring
from labelfactory.stage.given import ATTEMPTS


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
    with (
        open_repo(waits=True) if held is None else nullcontext(held) as repo,
        failures_named(),
        lock_repo(repo),
        _calm(retrain=retrain),
        warm_starts(),
    ):
        names = Line(repo).order(targets, retrain=retrain)
        ask_again(repo, names)
        ran = []
        for _ in range(ATTEMPTS):
            if not retrain:
                _freeze_learning(repo, targets)
            ran += repo.reproduce(targets=list(targets) or None, force=force)
            if not ask_again(repo, names):
                break
            force = False
        for left in note_what_was_added(repo):
            say(str(left))
    return list(dict.fromkeys(stage.addressing for stage in ran))


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
    """Hold DVC's lock, while no stage, sweep or tournament is at work: for a command that changes what stages read and write.

    Raises:
        BusyError: another process holds DVC's lock, runs a stage, or a sweep.
    """
    with open_repo() as repo:
        with failures_named(), ExitStack() as held:
            held.enter_context(lock_repo(repo))
            repo.lock.waits = True  # DVC gives it away while a stage runs
            locks = held.pop_all()
        with locks:
            for name in read_wiring():  # a stage started by hand holds its lock alone
                with stage_lock(name):
                    pass
            for name in ("sweep", "tournament"):  # they begin with the import of a moment: none begins meanwhile
                locks.enter_context(stage_lock(name))
            note_what_was_added(repo)  # before a withdrawal takes lists out of the cache
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
        with failures_named():
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
        with failures_named():
            ask_again(self._repo, [stage])
            ran = bool(self._repo.reproduce(targets=[stage], single_item=True, force=force))
            if ran and ask_again(self._repo, [stage]):
                self._repo.reproduce(targets=[stage], single_item=True)
            return ran

    def vary(
        self, name: str, params: Mapping[str, Any], inputs: Mapping[str, str], stages: Sequence[str] = ()
    ) -> dict[str, float]:
        """Run the line with these params as the DVC experiment `name`, unless it exists. Returns its metrics.

        Args:
            name: of the experiment.
            params: all of params.yaml.
            inputs: as `inputs_in` gives them for these stages, when the experiment was planned.
            stages: those that run, in order, and no others; none for the whole line.

        Raises:
            StageFailedError, UserError: as `reproduce`.
        """
        with failures_named():
            return run_variant(self._repo, name, params, inputs, stages)

    def stale(self, stages: Sequence[str]) -> list[str]:
        """Those of these stages that are stale now, whatever earlier stages will make.

        Raises:
            UserError: as `reproduce`.
        """
        with failures_named():
            changed = self._repo.status(targets=list(stages)) if stages else {}
            changed |= dict.fromkeys(noted_unused(self._repo, stages))
        return [stage for stage in stages if stage in changed]


@contextmanager
def open_line() -> Iterator[Line]:
    """The line of this folder, with DVC opened once for all stages."""
    with open_repo(waits=True) as repo, warm_starts():
        yield Line(repo)


@contextmanager
def _calm(*, retrain: bool) -> Iterator[None]:
    """Show only DVC's warnings and errors: each stage prints its own line. Without `retrain`, a frozen stage is no warning."""
    logger, of_stages = logging.getLogger("dvc"), logging.getLogger("dvc.repo.reproduce")
    level = logger.level
    logger.setLevel(logging.WARNING)
    if not retrain:
        of_stages.addFilter(_not_frozen)
    try:
        yield
    finally:
        of_stages.removeFilter(_not_frozen)
        logger.setLevel(level)


def _not_frozen(record: logging.LogRecord) -> bool:
    """Whether a message of DVC is another one than that a learning stage is frozen."""
    stage = record.args[0] if isinstance(record.args, tuple) and record.args else None
    frozen = str(record.msg).startswith("%s is frozen")
    return not (frozen and getattr(stage, "addressing", "") in read_wiring().learning)


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
