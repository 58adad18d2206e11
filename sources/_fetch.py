"""Photographs behind URLs: fetched once through fsspec, kept in data/raw."""

from collections.abc import Callable
from pathlib import Path

import fsspec

from labelfactory.errors import DataError
from labelfactory.files import write_whole

REMOTE = ("http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "sftp", "memory")
"""Schemes that are fetched. None of them reads this machine's own files, whatever a table says."""

LARGEST = 512 * 2**20
"""Bytes; no photograph is larger."""


def fetch(url: str, path: Path, *, keep: bool) -> Callable[[], bytes]:
    """A function that gives the bytes behind a URL: from `path` once they are there, else from afar.

    Args:
        url: of one of the schemes above.
        path: where the bytes are kept.
        keep: whether they are written there.
    """

    def load() -> bytes:
        if path.is_file():
            return path.read_bytes()
        try:
            with fsspec.open(url, "rb") as stream:
                data: bytes = stream.read(LARGEST + 1)
        except ImportError as error:
            raise DataError(f"{url}: {error}", "Install what it names.") from None
        except Exception as error:  # each file system raises errors of its own
            raise DataError(f"{url}: not fetched: {type(error).__name__}: {str(error)[:200]}") from None
        if len(data) > LARGEST:
            raise DataError(f"{url}: larger than {LARGEST // 2**20} MiB")
        if keep:
            path.parent.mkdir(parents=True, exist_ok=True)
            with write_whole(path) as temporary:
                temporary.write_bytes(data)
        return data

    return load
