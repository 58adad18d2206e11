"""DVC's lock of this folder: who holds it, and how to wait for it.

DVC takes the lock back when a stage has ended, to write down what it made, and gives up after three seconds: the run would fail
because of whoever works on DVC's files in that moment.
"""

import re
import shlex
from pathlib import Path
from types import TracebackType

import psutil
from dvc.lock import LockBase, LockError

from labelfactory.console import say
from labelfactory.interrupt import interrupted
from labelfactory.lock import BusyError

PROGRAMS = ("labelfactory", "dvc")
WAIT = "Wait until it is done, then type the same command again; a run that was killed leaves no lock."


class DvcLock(LockBase):
    """The lock of a repository in place of DVC's own, which it holds.

    Args:
        lock: DVC's own.
        waits: wait for another holder, and say for whom, until this program is interrupted. May be changed later.
    """

    def __init__(self, lock: LockBase, *, waits: bool) -> None:
        super().__init__(getattr(lock, "_lockfile", ""))  # a folder without locks has none
        self._lock, self.waits = lock, waits

    def lock(self) -> None:
        """Take the lock.

        Raises:
            BusyError: another process holds it, and this one does not wait, or was interrupted.
        """
        said = False
        while True:
            try:
                self._lock.lock()
            except LockError as error:
                if not self.waits or interrupted():
                    raise BusyError(f"{_holder(Path(self.lockfile))} holds DVC's lock of this folder", WAIT) from error
                if not said:
                    say(f"waiting for {_holder(Path(self.lockfile))}, which holds DVC's lock of this folder")
                said = True
            else:
                return

    def unlock(self) -> None:
        """Give it back."""
        self._lock.unlock()

    @property
    def is_locked(self) -> bool:
        """Whether this process holds it."""
        return bool(self._lock.is_locked)

    def __enter__(self) -> None:
        self.lock()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unlock()


def busy(error: LockError, stage: str = "") -> BusyError:
    """The error for a lock of DVC's on the files of a stage, which names the process that works on them."""
    found = re.search(r"\(PID (\d+)\)", str(error))
    who = _named(int(found[1])) if found else "another process"
    return BusyError(f"{stage or 'DVC'}: {who} works on the same files in this folder", WAIT)


def _holder(path: Path) -> str:
    """The process that holds a lock of DVC's, which writes its number into the file."""
    try:
        return _named(int(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return "another process"


def _named(pid: int) -> str:
    """A process for messages, with its command where that is ours or DVC's."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        words = []
    for place, word in enumerate(words[:2]):
        if Path(word).name in PROGRAMS:
            return f"`{shlex.join([Path(word).name, *words[place + 1 :]])}` (process {pid})"
    return f"the process {pid}"
