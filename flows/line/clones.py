"""Files that DVC would clone where the file system cannot."""

import errno
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from dvc_objects.fs import system


@contextmanager
def no_vain_clones() -> Iterator[None]:
    """Have DVC clone no file where the file system cannot: it tries that at the final place of each file, and where it is killed
    there, an empty one stays, in the cache, in a folder that serves as remote, or in the project.
    """
    clone = system.reflink

    def where_possible(source: str, target: str) -> None:
        with TemporaryFile(dir=Path(target).parent) as unnamed:
            if not _clones_into(source, unnamed.fileno()):
                raise OSError(errno.ENOTSUP, "reflink is not supported")
        clone(source, target)

    system.reflink = where_possible
    try:
        yield
    finally:
        system.reflink = clone


def _clones_into(source: str, target: int) -> bool:
    """Whether a file can be cloned into an open one, by FICLONE of <linux/fs.h>; on other systems DVC leaves nothing."""
    if sys.platform != "linux":
        return True
    with suppress(OSError), Path(source).open("rb") as stream:
        fcntl.ioctl(target, 0x40049409, stream.fileno())
        return True
    return False
