"""DVC's repository in this folder: opened after its files were checked, its errors as errors for users."""

import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dvc.exceptions import DvcException, ReproductionError
from dvc.lock import LockError
from dvc.repo import Repo

from flows.line.data_sources import check_data_source
from flows.line.dvc_lock import DvcLock, busy
from flows.line.dvc_state import keep_state_private
from flows.line.failure import StageFailedError
from labelfactory.errors import UserError, in_short
from labelfactory.files import DiskError, disk_error
from labelfactory.settings.params import PARAMS_FILE, read_yaml
from labelfactory.settings.wiring import DATA, WIRING_FILE, last_runs, read_wiring

MAKE_WAY = ("bash", "zsh", "ksh")
"""Shells whose place a stage takes."""
_ASK_DVC = "Mend what DVC names; `dvc status -v` shows more."


@contextmanager
def open_repo(*, waits: bool = False) -> Iterator[Repo]:
    """DVC's view of this folder; its stages run with this environment's Python, and are what DVC started, not a shell's children.

    `waits`: wait for DVC's lock, as `DvcLock` does, also when a stage has ended; otherwise whoever holds it is an error.
    """
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    _choose_shell()
    with _database_errors():
        try:
            keep_state_private()
            repo = Repo(".")
        except DvcException as error:
            remedy = "Run the command in the project's root folder, in a clone of its git repository."
            raise UserError(f"DVC: {error}", remedy) from error
        _check_files()
        with repo:
            repo.lock = DvcLock(repo.lock, waits=waits)
            _refuse_other_stages(repo)
            yield repo


@contextmanager
def _database_errors() -> Iterator[None]:
    """Turn errors of DVC's database, which has the digests of files, into a DiskError. It is where a full disk is seen first."""
    try:
        yield
    except sqlite3.Error as error:
        place = Path(".dvc/tmp")
        raise disk_error(place, error) or DiskError(
            f"{place}: DVC's database: {in_short(error, 200)}",
            f"Free space on its disk; if that was not it, delete {place}.",
        ) from error


def _choose_shell() -> None:
    """Have DVC start stages by a shell that makes way for them. Another one, such as cron's, would take a stage's signals."""
    if Path(os.environ.get("SHELL", "sh")).name in MAKE_WAY:
        return
    for shell in filter(None, map(shutil.which, MAKE_WAY)):
        os.environ["SHELL"] = shell
        return


def _refuse_other_stages(repo: Repo) -> None:
    """Refuse stages of files that came with photographs: DVC collects and runs those of every dvc.yaml and *.dvc below.

    .dvcignore leaves them out, except for sources of data that people add; a project may have one of its own.

    Raises:
        UserError: there is such a file, or DVC cannot read one.
    """
    for path in sorted(DATA.glob("*.dvc")):
        if path.is_file() and not repo.dvcignore.is_ignored_file(str(path.absolute())):
            check_data_source(path)
    try:
        files = {Path(stage.path_in_repo) for stage in repo.index.stages}
    except DvcException as error:
        raise UserError(f"DVC: {in_short(error, 500)}", "Mend that file.") from error
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


def locked_stages() -> set[str]:
    """Names of the line's stages that have run at least once, by dvc.lock, which keeps those that the line no longer has."""
    return set(last_runs()) & set(read_wiring())


@contextmanager
def failures_named() -> Iterator[None]:
    """Turn DVC's errors into errors for users."""
    try:
        yield
    except ReproductionError as error:
        raise StageFailedError(*_blame(error)) from error
    except LockError as error:
        raise busy(error) from error
    except DvcException as error:
        raise UserError(f"DVC: {' '.join(str(error).split())}", _ASK_DVC) from error


def _blame(error: ReproductionError) -> tuple[str, int]:
    """The name of the stage that failed, and its exit code: 2 if its user can mend it, below 0 for a signal.

    DVC gives both only in its messages.
    """
    name = str(error).removeprefix("failed to reproduce ").strip("'")
    if isinstance(error.__cause__, UserError):  # of DVC's lock, which is ours
        raise error.__cause__
    if isinstance(error.__cause__, LockError):
        raise busy(error.__cause__, name) from error
    code = re.search(r"exited with (-?\d+)", str(error.__cause__))
    if code is None:
        raise UserError(f"DVC: {name}: {error.__cause__}", _ASK_DVC) from error
    return name, int(code.group(1))
