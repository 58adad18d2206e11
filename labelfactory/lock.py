"""One run at a time in a folder: two that write the same output would each take the other's temporary files.

The lock is the operating system's (flock): it goes with the process that holds it, however that ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelfactory.errors import UserError
from labelfactory.files import make_folder

LOCKS = Path(".labelfactory/locks")


class BusyError(UserError):
    """Another run has the same work in hand."""


@contextmanager
def stage_lock(stage: str, *, shared: bool = False) -> Iterator[None]:
    """Hold a stage of this folder.

    Args:
        stage: its name.
        shared: whether others may work on other shards of it at the same time.

    Raises:
        BusyError: somebody else holds it.
    """
    make_folder(LOCKS)
    path = LOCKS / f"{stage}.lock"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(f"{stage}: {_holder(path)} works on it in this folder", _REMEDY) from None
        except OSError:  # a file system without locks: then nobody can be kept out
            yield
            return
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


_REMEDY = "Wait until it is done, or end that process, and type the same command again."


def _holder(path: Path) -> str:
    """Who holds it, as far as it has said so."""
    written = path.read_text(encoding="utf-8").strip()
    return f"the process {written}" if written.isdigit() else "another process"
