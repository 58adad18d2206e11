"""Photographs behind URLs: fetched once, kept in data/raw. http and https by our own client, other schemes by fsspec."""

from collections.abc import Callable
from pathlib import Path

import fsspec

from labelfactory.dataset.picture_files import opened_picture
from labelfactory.dataset.withdrawn import withdrawn
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, in_short
from labelfactory.files import write_whole
from labelfactory.foreign_files import LARGEST_PICTURE as LARGEST
from labelfactory.foreign_files import check_path, read_file
from labelfactory.http_client import HttpError, download

REMOTE = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "sftp", "memory")
"""Schemes that are fetched. None of them can read a local file."""

TIMEOUT = 60.0  # seconds without a byte


def fetch(url: str, path: Path, *, keep: bool) -> Callable[[], bytes]:
    """A function that returns the bytes behind a URL: from `path` where that exists, else fetched. Only pictures are kept.

    Args:
        url: of one of the schemes above.
        path: file that keeps the bytes.
        keep: whether it is written. A withdrawn photograph never is.
    """

    def load() -> bytes:
        if path.is_file():
            return read_file(check_path(path, "read"))
        data = _over_http(url) if url.lower().startswith(("http://", "https://")) else _by_fsspec(url)
        if len(data) > LARGEST:
            raise DataError(f"{url}: larger than {LARGEST // 2**20} MiB")
        with opened_picture(data):  # only its header is read
            pass
        if keep and digest_bytes(data) not in withdrawn().photographs:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as temporary:
                temporary.write_bytes(data)
        return data

    return load


def _over_http(url: str) -> bytes:
    data = bytearray()
    try:
        with download(url, timeout=TIMEOUT) as answer:
            for piece in answer.pieces:
                data += piece
                if len(data) > LARGEST:
                    break
    except HttpError as error:
        raise DataError(f"{url}: not fetched: {error.reason}") from None
    return bytes(data)


def _by_fsspec(url: str) -> bytes:
    try:
        with fsspec.open(url, "rb") as stream:
            data: bytes = stream.read(LARGEST + 1)
    except ImportError as error:
        raise DataError(f"{url}: {error}", "Install the package that it names.") from None
    except Exception as error:  # each file system raises errors of its own
        raise DataError(f"{url}: not fetched: {type(error).__name__}: {in_short(error)}") from None
    return data
