"""Things that have the name of a photograph and are none: each would hang a reader, fill its memory or lead it elsewhere."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SECRET = b"the password is swordfish"


def fifo(path: Path) -> None:
    """A pipe with nobody at its other end: opening it for reading waits."""
    os.mkfifo(path)


def endless(path: Path) -> None:
    """A link to a device whose bytes never end."""
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    """The socket of a program that has gone."""
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may be no longer than 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def too_large(path: Path) -> None:
    """A file of 600 MiB that takes no room on the disk."""
    path.touch()
    os.truncate(path, 600 * 2**20)


SPECIAL: dict[str, tuple[Callable[[Path], None], str]] = {
    "a FIFO": (fifo, "is not a regular file"),
    "/dev/zero": (endless, "is not a regular file"),
    "a socket": (unix_socket, "is not a regular file"),
    "a large file": (too_large, "larger than 512 MiB"),
}
"""Case → what makes it at a path, and the reason for which it is refused; /dev/zero also where links are followed."""


@contextmanager
def fake_ghostscript(folder: Path) -> Iterator[Path]:
    """A program `gs` on the path that leaves a file; gives that file."""
    folder.mkdir()
    mark = folder / "started"
    program = folder / "gs"
    program.write_text(f"#!/bin/sh\ntouch {mark}\nexit 1\n")
    program.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
    try:
        yield mark
    finally:
        os.environ["PATH"] = before


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n"
"""A picture that Pillow gives to Ghostscript, a program that runs what the picture says."""
