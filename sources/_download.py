"""A large file from its public home: resumed where it broke off, held against its checksum, unpacked."""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from labelfactory.console import in_bytes
from labelfactory.errors import DataError
from labelfactory.progress import progress

VOC2012 = "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"
VOC2012_MD5 = "6cd6e144f989b92b3379bac3b3de84fd"
"""As published with torchvision's VOC data set; the home page names none."""
VOC2012_FOLDER = Path("VOCdevkit/VOC2012")

CHUNK = 2**20
TRIES = 5
TIMEOUT = 60  # seconds without a byte


def download(url: str, path: Path, md5: str) -> None:
    """Fetch a file. What a broken connection left in `<path>.part` is gone on with, at once and in a later call.

    Args:
        url: where it lies.
        path: where it goes; a file that is there and whole is left alone.
        md5: its checksum, 32 hex digits.

    Raises:
        DataError: the connection broke too often, or the file is another one.
    """
    if path.is_file() and _md5(path) == md5:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for trial in range(1, TRIES + 1):
        try:
            _fetch_rest(url, part)
            break
        except (OSError, urllib.error.URLError) as error:
            if trial == TRIES or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                have = part.stat().st_size if part.is_file() else 0
                raise DataError(
                    f"{url}: {error}; {have} bytes are here", "Type the same command again: it goes on from there."
                ) from None
    found = _md5(part)
    if found != md5:
        part.unlink()
        raise DataError(f"{url}: its MD5 is {found}, not {md5}; it was thrown away", "Type the same command again.")
    part.replace(path)


def _fetch_rest(url: str, part: Path) -> None:
    """Fetch what is missing of a file; ConnectionError when the server ends before its own count."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            error.close()
            return
        raise
    with answer:
        if answer.status != 206:  # the server does not resume: from the start
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else 0
        free = shutil.disk_usage(part.parent).free
        if total - have > free:
            raise DataError(
                f"{url}: {in_bytes(total - have)} are to be fetched, {in_bytes(free)} are free on the disk",
                "Make room, or name a folder on a larger disk.",
            )
        with part.open("ab" if have else "wb") as stream, progress("download", max(total // CHUNK, 1), "MiB") as tick:
            if have:
                tick(have // CHUNK)
            while data := answer.read(CHUNK):
                stream.write(data)
                tick(len(data) // CHUNK)
            have = stream.tell()
    if have < total:
        raise ConnectionError(f"the connection broke off at {have} of {total} bytes")


def fetch_voc2012(folder: Path, *, url: str = VOC2012, md5: str = VOC2012_MD5) -> Path:
    """VOC 2012 under a folder, downloaded and unpacked unless it is there. Gives the folder in VOC layout.

    Raises:
        DataError: it cannot be fetched, or is not what it should be.
    """
    unpacked = folder / VOC2012_FOLDER
    archive = folder / url.rsplit("/", 1)[-1]
    done = folder / f".{archive.name}.unpacked"
    if done.is_file() and unpacked.is_dir():
        return unpacked
    download(url, archive, md5)
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{archive}: not unpacked: {error}", "Make room on the disk and type the command again."
        ) from None
    done.touch()
    return unpacked


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
