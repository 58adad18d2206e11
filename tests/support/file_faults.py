"""Kills and full disks at each call of the file functions of a command, in forks: by count, not by luck.

    python tests/support/file_faults.py [--of NAME …] [--every 1] [--at WORD …]

A first run of the command counts its calls of the functions below that change something in the case. For each of them the command
then runs again in a fresh copy, up to that call:
    killed     the process ends there as by SIGKILL: before the call and, where it changes a name, after it
    full       the call fails with ENOSPC; a file that is opened for writing also breaks off while it is written
After a kill each part of the state is as before the command or as after it; after a full disk the command has printed two lines
and ended with 2, and no temporary file is left. In both cases the command, typed again, ends in the state of an undisturbed run,
with no leftover.

A command of several steps has a state of its own between before and after (`BEGUN`): what it is going to do is written down, and
not all of it is done.
"""

import argparse
import builtins
import copy
import errno
import functools
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from dvc.utils import strictyaml
from forked_commands import command, fork, load, wait
from small_case import COMMANDS, copy_case, held, leftovers, make_case, make_clone

from exports import _package
from flows import sweep
from labelfactory import lock
from labelfactory.learning.checkpoints import load_checkpoint
from lineage import tracking
from models.segmenters import segmenter_from

NAMES = ("replace", "rename", "unlink", "remove", "link", "symlink", "mkdir", "rmdir")
"""Functions of `os` that change a name; pathlib and shutil call them too."""
FREEING = ("unlink", "remove", "rmdir")
"""Those that need no space."""
CONTENT = ("open", "write_table")
"""Between one of these and the next call a file gets its content."""
KILLED = 137
HELD = ("data/import/", "data/corrections/", "params.yaml")
"""What is written only by who holds the project."""
NOT_OURS = (".dvc/tmp", "data/mlflow", "__pycache__", "/.labelfactory/locks")
"""Databases of other programs, which have journals, and locks."""


@dataclass
class Faults:
    """The file functions of this process, wrapped: each call that touches the case is counted, and one of them fails.

    Attributes:
        case: calls that touch nothing below it are not counted.
        stop: the number of the call at which something happens, from 1; 0 for none.
        how: `before`, `after`, `refused`, or `full`.
        log: gets a line for each call.
    """

    case: Path
    stop: int = 0
    how: str = ""
    log: Path | None = None
    count: int = 0

    def install(self) -> None:
        """Wrap them. Nothing takes it back: the process is a fork."""
        for name in NAMES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        io.open = builtins.open = self._opening(builtins.open)  # type: ignore[assignment]
        pq.write_table = self._writing(pq.write_table)
        lock._take = self._taking(lock._take)

    def _touches(self, paths: tuple[Any, ...]) -> bool:
        for path in paths:
            if isinstance(path, (str, Path)):
                full = Path(os.path.abspath(path))  # noqa: PTH100
                if full.is_relative_to(self.case) and not any(part in full.as_posix() for part in NOT_OURS):
                    return True
        return False

    def _taking(self, function: Callable[..., bool]) -> Callable[..., bool]:
        """Locks are taken in one order: who holds the ledger must not wait for the project."""
        taken: list[Any] = []

        @functools.wraps(function)
        def call(stream: Any, **options: Any) -> bool:
            ledger = [other for other in taken if not other.closed and "ledger" in str(other.name)]
            assert not (ledger and str(lock.PROJECT) in str(stream.name)), "holds the ledger and asks for the project"
            taken.append(stream)
            return function(stream, **options)

        return call

    def _note(self, text: str) -> bool:
        """Count a call. Whether it is the one."""
        assert lock.holds_project() or not any(path in text for path in HELD), f"{text}: the project is not held"
        self.count += 1
        if self.log is not None:
            number = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(number, f"{text}\n".encode())
            os.close(number)
        return self.count == self.stop

    def _counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if options.get("dir_fd") is None and not (self._touches(args[:2]) and _changes(name, args[0])):
                return function(*args, **options)
            if not self._note(f"{name} {' '.join(map(str, args[:2]))}"):
                return function(*args, **options)
            if self.how == "before":
                os._exit(KILLED)
            if self.how == "refused" and name not in FREEING:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
            try:
                return function(*args, **options)
            finally:
                if self.how == "after":
                    os._exit(KILLED)

        return call

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
            if not set(mode) & set("wax+") or not self._touches((file,)) or not self._note(f"open {mode} {file}"):
                return function(file, mode, *args, **options)
            if self.how == "before":
                os._exit(KILLED)
            if self.how == "refused":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
            opened = function(file, mode, *args, **options)
            if self.how == "after":
                os._exit(KILLED)
            if self.how == "full":  # it exists, but what is written to it does not fit
                opened.close()
                return function("/dev/full", mode, *args, **options)
            return opened

        return call

    def _writing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Arrow opens files itself."""

        @functools.wraps(function)
        def call(table: Any, where: Any, *args: Any, **options: Any) -> Any:
            if not self._touches((where,)) or not self._note(f"write_table {where}"):
                return function(table, where, *args, **options)
            if self.how == "before":
                os._exit(KILLED)
            if self.how == "refused":
                Path(where).touch()
                raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: No space left on device")
            function(table, where, *args, **options)
            if self.how == "after":
                os._exit(KILLED)
            return None

        return call


def _changes(name: str, path: Any) -> bool:
    """Whether a call changes something: a folder that is there is not made, and what is not there is not deleted."""
    return not os.path.isdir(path) if name == "mkdir" else name not in FREEING or os.path.lexists(path)  # noqa: PTH112


@dataclass(frozen=True)
class Begun:
    """The state of a command that has written down what it is going to do, and has not done all of it.

    Attributes:
        part: of the state, which says so.
        first: parts that may change before that; all others change afterwards, before the command is done.
        value: what that part is then, from what it is at the end.
        finish: another command that finishes it, and ends in the state of an undisturbed run.
    """

    part: str
    first: tuple[str, ...]
    value: Callable[[Any], Any]
    finish: tuple[str, ...]


BEGUN = {
    "withdraw": Begun(
        "withdrawals",
        first=("masks", "made"),  # the ledger takes down what the line has made, then what of it is withdrawn
        value=lambda events: Counter({event: n for event, n in events.items() if event.startswith("withdrawn ")}),
        finish=("audit", "verify"),
    ),
}
"""Commands of several steps."""
GAPS = {"withdraw": "/bucket/"}
"""Where a full disk is not tried, by a word of the call: a withdrawal that finds the remote full goes on, and signs a report that
names it; a later command signs another one. The comparison does not know this end yet."""


class Campaign:
    """Faults of one command in copies of a case."""

    def __init__(self, case: Path, root: Path, name: str) -> None:
        self.case, self.root, self.name = case, root, name
        self.before = held(case)
        self.begun = BEGUN.get(name)
        self.tried = {"killed": 0, "full": 0}
        self.problems: list[str] = []
        folder = self._fresh()
        faults = Faults(folder, log=root / "calls")
        (root / "calls").unlink(missing_ok=True)
        code, printed = self._type(folder, faults)
        assert code == 0, f"{name}: {printed}"
        self.after = held(folder)
        assert not leftovers(folder), f"{name} left {leftovers(folder)}"
        self.calls = (root / "calls").read_text().splitlines() if (root / "calls").exists() else []

    def _fresh(self) -> Path:
        folder = self.root / "faulty"
        shutil.rmtree(folder, ignore_errors=True)
        return copy_case(self.case, folder)

    def _type(self, folder: Path, faults: Faults | None = None, words: tuple[str, ...] = ()) -> tuple[int, str]:
        def run() -> None:
            read_yaml_once()
            PREPARED.get(self.name, lambda: None)()
            if faults is not None:
                faults.install()
            command(*(words or COMMANDS[self.name]))()

        code = wait(fork(folder / "project", folder / "log", run))
        return code, (folder / "log").read_text()

    def run(self, every: int = 1, first: int = 1, at: Collection[str] = ()) -> None:
        """All faults at each call, or at each so many from one on; what they find is printed, and in `problems`.

        `at`: of these calls only those that name one of these words.
        """
        numbers = [k for k, call in enumerate(self.calls, 1) if not at or any(word in call for word in at)]
        numbers = numbers[first - 1 :: every]
        for number in numbers:
            name = self.calls[number - 1].split()[0]
            as_after_the_last = number - 1 in numbers and self.calls[number - 2].split()[0] not in CONTENT
            trials = [] if as_after_the_last else [(self.killed, "before")]
            trials += [(self.killed, "after")] if name != "open" else []
            if name not in FREEING and GAPS.get(self.name, "\0") not in self.calls[number - 1]:
                trials += [(self.full, how) for how in (("refused", "full") if name == "open" else ("refused",))]
            for trial, how in trials:
                try:
                    trial(number, how)
                except Exception as error:  # a state that cannot be read is a problem too
                    self.problems.append(f"{self.name}: {trial.__name__} ({how}) {self.calls[number - 1]}: {error}")
                    print(self.problems[-1], flush=True)

    def killed(self, number: int, how: str) -> None:
        """Kill it at a call."""
        folder = self._fresh()
        code, printed = self._type(folder, Faults(folder, number, how))
        assert code == KILLED, f"ended with {code}\n{printed}"
        self._between(folder)
        self._again(folder)
        self.tried["killed"] += 1

    def full(self, number: int, how: str) -> None:
        """Let a call fail as on a full disk."""
        folder = self._fresh()
        code, printed = self._type(folder, Faults(folder, number, how))
        lines = printed.strip().splitlines()
        assert "Traceback" not in printed, printed
        if code != 0:  # 0: it can do without that file
            assert code == 2, f"ended with {code}\n{printed}"
            assert "error: " in lines[-2], printed
            assert "no space is left" in lines[-2], printed
        self._between(folder)
        assert not leftovers(folder), f"left {leftovers(folder)}"
        self._again(folder)
        self.tried["full"] += 1

    def _between(self, folder: Path) -> None:
        """Each part is as before or as after, and what a command of several steps does is in its order."""
        got, begun = held(folder), self.begun
        known = {part: [self.before.get(part), self.after.get(part)] for part in {**self.before, **self.after}}
        if begun is not None:
            said, all_done = got[begun.part], self.after[begun.part]
            known[begun.part].append(begun.value(all_done))
            early = {*self._parts(got, self.before)} - {*begun.first}
            assert said != self.before[begun.part] or not early, f"{begun.part} does not say yet that {early} change"
            late = self._parts(got, self.after)
            assert said != all_done or not late, f"{begun.part} says that all is done, but not {late}"
        for part in {**got, **known}:
            assert got.get(part) in known.get(part, [None]), f"{part} is neither old nor new: {got.get(part)}"

    def _again(self, folder: Path) -> None:
        """Typed again it ends as if nothing had happened; begun, so does another command that finishes it."""
        got, begun = held(folder), self.begun
        done = got == self.after
        if begun is not None and got[begun.part] == begun.value(self.after[begun.part]):
            kept = self.root / "kept"
            shutil.rmtree(kept, ignore_errors=True)
            copy_case(folder, kept)
            code, printed = self._type(folder, words=begun.finish)
            assert code in (0, 2), f"{begun.finish} ends with {code}\n{printed}"
            self._ends(folder, printed, " ".join(begun.finish))
            shutil.rmtree(folder)
            kept.rename(folder)  # reports name the folder
        code, printed = self._type(folder)
        assert code == 0 or (code == 2 and done), f"typed again, it ends with {code}\n{printed}"
        self._ends(folder, printed, "typed again")

    def _ends(self, folder: Path, printed: str, doing: str) -> None:
        got = held(folder)
        for part in self._parts(got, self.after):
            raise AssertionError(f"{doing}, {part} is {got.get(part)}, not {self.after.get(part)}\n{printed}")
        assert not leftovers(folder), f"{doing}, it leaves {leftovers(folder)}"

    @staticmethod
    def _parts(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
        """Parts that differ."""
        return [part for part in {**one, **other} if one.get(part) != other.get(part)]


def export_graph() -> None:
    """The graph of the given segmenter as ONNX, beside it."""
    path = Path("given/segmenter.safetensors")
    state, passport = load_checkpoint(path)
    _package._export(segmenter_from(passport.architecture, state), path.with_suffix(".onnx"))


def prepare_package() -> None:
    """Exporting the graph takes half a minute, and is the same each time."""
    data = Path("given/segmenter.onnx").read_bytes()
    _package._export = lambda net, path: path.write_bytes(data)


class Experiments:
    """In place of the process that runs variants: DVC's experiments take minutes, and test_put_aside.py kills what makes them."""

    def __enter__(self) -> "Experiments":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def vary(self, *variant: Any, hear: Any) -> dict[str, float]:
        return {"miou/val/model": 0.5}


def keep_in_git(project: Path) -> None:
    """A sweep asks git first what it must not lose."""
    author = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    for words in (["init", "-q"], ["add", "dvc.yaml", "params.yaml"], [*author, "commit", "-qm", "A line"]):
        subprocess.run(["git", *words], cwd=project, check=True, timeout=60)


def prepare_sweep() -> None:
    sweep.LineProcess = Experiments


def read_yaml_once() -> None:
    """DVC reads dvc.yaml and dvc.lock once for each stage, which is most of what a pull of six images takes."""
    read, known = strictyaml.load, dict[Any, Any]()

    @functools.wraps(read)
    def load(path: Any, *args: Any, **options: Any) -> Any:
        with suppress(OSError):
            key = Path(path).read_bytes(), str(sorted(options.items()))
            if key not in known:
                known[key] = read(path, *args, **options)
            return copy.deepcopy(known[key])
        return read(path, *args, **options)

    strictyaml.load = load


def prepare_withdraw() -> None:
    """MLflow takes half of the time, and its database is not looked at here."""
    tracking.Tracking.take = lambda self, letter: None


PREPARED = {"package": prepare_package, "sweep": prepare_sweep, "withdraw": prepare_withdraw}
"""What a fork replaces before it runs the command of that name: work that takes long, never a write in the project."""


def campaign(root: Path, names: list[str], every: int = 1, first: int = 1, at: Collection[str] = ()) -> list[str]:
    """Faults of these commands: prints a line for each, and gives what they found."""
    case, problems = make_case(root / "case"), list[str]()
    if "package" in names:
        code = wait(fork(case / "project", root / "log", export_graph))
        assert code == 0, (root / "log").read_text()
    if "sweep" in names:
        keep_in_git(case / "project")
    for name in names:
        one = Campaign(make_clone(case, root / "clone") if name == "pull" else case, root, name)
        one.run(every, first, at)
        print(
            f"{name}: {len(one.calls)} calls, {one.tried['killed']} kills, {one.tried['full']} full disks", flush=True
        )
        problems += one.problems
    return problems


def main() -> None:
    """Run a campaign and print what it saw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--of", nargs="*", default=list(COMMANDS))
    parser.add_argument("--every", type=int, default=1, help="take each so many of the calls")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--at", nargs="*", default=[], help="take only calls that name one of these words")
    args = parser.parse_args()
    load()
    with tempfile.TemporaryDirectory() as folder:
        problems = campaign(Path(folder), args.of, args.every, args.first, args.at)
    print(
        f"{len(problems)} problems"
        if problems
        else "each time as before or as after, and at the end as if nothing had happened"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
