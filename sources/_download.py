"""Download a large file: resumed after a broken connection, checked against its MD5, unpacked."""

import errno
import hashlib
import os
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

from labelfactory.console import in_bytes
from labelfactory.errors import DataError
from labelfactory.foreign_files import is_inside
from labelfactory.http_client import Download, HttpError, RefusedError
from labelfactory.http_client import download as http_download
from labelfactory.progress import progress

VOC2012 = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC2012_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
"""As published with torchvision's VOC data set; the home page publishes none."""
VOC2012_FOLDER = Path("VOCdevkit/VOC2012")

MIB = 2**20
LARGEST = 4 * 2**30
"""Bytes of an archive, and of what it unpacks to; VOC 2012 has 2 GB."""
TRIES = 5
TIMEOUT = 60  # seconds without a byte
SAFELY: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""What Python checks too while it unpacks; 3.11.2, of Debian 12, does not know it."""


def download(url: str, path: Path, md5: str) -> None:
    """Download a file. A broken connection leaves `<path>.part`, which the next try and a later call resume.

    Args:
        url: of http or https.
        path: the target; not downloaded again if its MD5 is right.
        md5: 32 hex digits.

    Raises:
        DataError: the connection broke TRIES times, the server refuses, it sends more than LARGEST bytes, or the MD5 differs.
    """
    if path.is_file() and _md5(path) == md5:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for trial in range(1, TRIES + 1):
        try:
            _fetch_rest(url, part)
            break
        except HttpError as error:
            if trial == TRIES or (isinstance(error, RefusedError) and error.status < 500):
                have = part.stat().st_size if part.is_file() else 0
                raise DataError(
                    f"{url}: {error.reason}; {have} bytes are here", "Type the same command again: it resumes there."
                ) from None
    actual = _md5(part)
    if actual != md5:
        part.unlink()
        raise DataError(f"{url}: its MD5 is {actual}, not {md5}; the file was deleted", "Type the same command again.")
    part.replace(path)


def _fetch_rest(url: str, part: Path) -> None:
    """Append what is missing of a file. Raises HttpError, and DataError where the disk is too small."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        with http_download(url, start=have, timeout=TIMEOUT) as answer:
            _write(url, answer, part)
    except RefusedError as error:
        if error.status != 416 or not have:  # 416: nothing is missing
            raise


def _write(url: str, answer: Download, part: Path) -> None:
    done, total = answer.start, answer.total or 0
    _check_size(url, total, part)
    free = shutil.disk_usage(part.parent).free
    if total - done > free:
        raise DataError(
            f"{url}: {in_bytes(total - done)} to download, {in_bytes(free)} free on the disk",
            "Make room, or name a folder on a larger disk.",
        )
    mib = max(total // MIB, 1)
    with _opened(part, "ab" if done else "wb") as stream, progress("download", mib, "MiB", keeps=True) as tick:
        if done:
            tick(done // MIB)
        for piece in answer.pieces:
            _check_size(url, done + len(piece), part)
            stream.write(piece)
            before, done = done, done + len(piece)
            if done // MIB > before // MIB:
                tick(done // MIB - before // MIB)


def _opened(part: Path, mode: str) -> BinaryIO:
    """Open the file for writing. Raises DataError: it is a link, which another user may have put there."""
    try:
        return cast(BinaryIO, open(part, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666)))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DataError(f"{part}: is a link, to which nothing is written", f"Delete {part}.") from None


def _check_size(url: str, size: int, part: Path) -> None:
    if size > LARGEST:
        part.unlink(missing_ok=True)
        raise DataError(f"{url}: larger than {in_bytes(LARGEST)}; what was here of it is deleted", "Check the address.")


def fetch_voc2012(folder: Path, *, url: str = VOC2012, md5: str = VOC2012_MD5) -> Path:
    """Download and unpack VOC 2012 into a folder, unless that was done before. Returns the folder in VOC layout.

    Raises:
        DataError: it cannot be downloaded or unpacked, or its MD5 differs.
    """
    unpacked = folder / VOC2012_FOLDER
    archive = folder / url.rsplit("/", 1)[-1]
    done = folder / f".{archive.name}.unpacked"
    if done.is_file() and unpacked.is_dir():
        return unpacked
    download(url, archive, md5)
    try:
        with tarfile.open(archive) as opened:
            _check_members(archive, opened.getmembers(), folder)
            opened.extractall(folder, **SAFELY)
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{archive}: cannot be unpacked: {error}", "Make room on the disk and type the command again."
        ) from None
    done.touch()
    return unpacked


def _check_members(archive: Path, members: Iterable[tarfile.TarInfo], folder: Path) -> None:
    """Refuse an archive with links, devices, or names outside of the folder, before one file of it is written."""
    size = 0
    for member in members:
        size += member.size
        problem = "is a link or a device" if not (member.isreg() or member.isdir()) else ""
        if "\0" in member.name or not is_inside(folder / member.name, folder / VOC2012_FOLDER.parts[0]):
            problem = f"is not below {VOC2012_FOLDER.parts[0]}/"
        if size > LARGEST:
            problem = f"is beyond the first {in_bytes(LARGEST)}"
        if problem:
            raise DataError(
                f"{archive}: cannot be unpacked: {member.name!r} {problem}", "Delete it and download it again."
            )


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
