"""Files and folders that one test process builds for all of a session: the others wait for it, and copy what they change."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

SHARED = "LABELFACTORY_TESTS_SHARED"
"""Names the folder of the session, for the processes that a test session starts."""


def shared_folder() -> Path:
    """The folder that all processes of this session share; the first that asks makes it, and removes it at its end."""
    if SHARED not in os.environ:
        folder = tempfile.mkdtemp(prefix="session-")
        os.environ[SHARED] = folder
        atexit.register(_remove, folder, os.getpid())
    return Path(os.environ[SHARED])


def _remove(folder: str, maker: int) -> None:
    """A fork of the process that made the folder leaves it alone."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


def once(name: str, build: Callable[[Path], object]) -> Path:
    """The file or folder of that name in the shared folder, built by the first process that asks.

    Args:
        name: one name for one content.
        build: makes it at the path that it is given, which does not exist yet and is its path for good. Where it fails,
            the next process that asks removes what is left and tries again.

    Returns:
        The path, complete. Tests that change anything copy it.
    """
    path = shared_folder() / name
    complete = path.with_name(f"{name}.complete")
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            build(path)
            complete.touch()
    return path
