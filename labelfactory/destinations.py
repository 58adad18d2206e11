"""Places that a user names for results: never the project's own, and no file there is lost.

A result bears a seal: the command that wrote it, and the SHA-256 of the whole file with 64 zeros in the digest's place. A file is
replaced only if it bears the seal of the same command and no byte was changed since. A writer puts `blank_seal` where its format
holds text: a value of JSON or ONNX, the comment of a JPEG, the text `Software` of a PNG, whose checksum follows it.
"""

import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError
from labelfactory.files import disk_errors, write_whole
from labelfactory.foreign_files import LARGEST_OURS, read_file

OWN = ("data", ".git", ".dvc", "dvc.yaml", "dvc.lock", "params.yaml", "prefect.yaml")
"""Folders and files of a project, in its root folder, which is the working directory."""
BLANK = "0" * 64
PNG_TEXT = "Software"
"""The keyword of a PNG's text that bears the seal."""
PNG = b"\x89PNG\r\n\x1a\n"
SEAL = re.compile(rb"(labelfactory [a-z -]+) sha256:[0-9a-f]{64}")


def refuse_own(out: Path) -> None:
    """Refuse a place for results before anything is written there.

    Raises:
        DataError: it belongs to the project, by its path or by where its links lead.
        DiskError: nothing can be there: a part of the path is a file, a link that leads to itself, or too long a name.
    """
    with disk_errors(out), suppress(FileNotFoundError):
        out.stat()
    place = out.resolve()
    for own in OWN:
        if place.is_relative_to(Path(own).resolve()) or place.is_relative_to(Path.cwd() / own):
            raise DataError(f"{out}: {own} belongs to the project", "Name another place for the results.")


def refuse_folder(out: Path, names: Iterable[str], command: str, remedy: str) -> None:
    """Refuse a folder for results before anything is written there.

    Args:
        out: the folder.
        names: of the files that are to be written there.
        command: that writes them, as it is typed.
        remedy: what to do else.

    Raises:
        DataError: it belongs to the project, is no folder, or one of the files would be lost.
    """
    refuse_own(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is not a folder", remedy)
    for name in names:
        refuse_others(out / name, command, remedy)


def refuse_others(path: Path, command: str, remedy: str) -> None:
    """Refuse to replace a file, unless it is empty or as this command wrote it. Raises DataError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or (found.st_size and not is_as_written(path, command)):
        problem = f"was not written by `{command}`, or was changed since, and a result would replace it"
        raise DataError(f"{path}: {problem}", remedy)


@contextmanager
def write_sealed(path: Path, command: str, remedy: str) -> Iterator[Path]:
    """`write_whole` for a result with a `blank_seal` in it, which is filled in.

    Raises:
        DataError: the file there would be lost; it may have been put there meanwhile.
        DiskError: as `write_whole`.
    """
    with write_whole(path) as temporary:
        yield temporary
        seal(temporary, command)
        refuse_others(path, command, remedy)


def blank_seal(command: str) -> str:
    """The seal of a command before the file is complete; once in a file."""
    return f"{command} sha256:{BLANK}"


def seal(path: Path, command: str) -> None:
    """Fill in the seal of a complete file; an empty one has none, as nobody can lose it."""
    data = path.read_bytes()
    if not data:
        return
    at = data.rindex(blank_seal(command).encode()) + len(blank_seal(command)) - len(BLANK)
    path.write_bytes(_with(data, at, digest_bytes(_with(data, at, BLANK))))


def is_as_written(path: Path, command: str) -> bool:
    """Whether a file bears the seal of this command, and no byte was changed since."""
    try:
        data = read_file(path, largest=LARGEST_OURS)
    except DataError:
        return False
    mark = blank_seal(command).removesuffix(BLANK).encode()
    at = data.rfind(mark) + len(mark)
    return mark in data and data[at : at + len(BLANK)] == digest_bytes(_with(data, at, BLANK)).encode()


def command_of(path: Path) -> str:
    """The command whose seal a file bears, whether it was changed since or not; empty where there is none."""
    try:
        found = SEAL.search(read_file(path, largest=LARGEST_OURS))
    except DataError:
        return ""
    return found[1].decode() if found else ""


def _with(data: bytes, at: int, digest: str) -> bytes:
    """A file with this digest at a place; in a PNG, with the checksum that then follows."""
    end = at + len(digest)
    if not data.startswith(PNG):
        return data[:at] + digest.encode() + data[end:]
    chunk = data[data.rfind(f"tEXt{PNG_TEXT}\0".encode(), 0, at) : at] + digest.encode()
    return data[:at] + digest.encode() + zlib.crc32(chunk).to_bytes(4) + data[end + 4 :]
