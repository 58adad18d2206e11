"""The manifest of another machine, read from what a remote sends."""

from pathlib import Path
from tempfile import TemporaryDirectory

from labelfactory.dataset.manifest import Manifest, read_manifest
from labelfactory.digests import SHA256
from labelfactory.errors import DataError, NewerFormatError

PUSH_AGAIN = "Type `labelfactory push` again."


class DamagedError(DataError):
    """It is no manifest."""


def read_pushed(data: bytes, where: str) -> Manifest:
    """Read a manifest that is not in the project yet.

    Args:
        data: the file.
        where: its address, for messages.

    Raises:
        NewerFormatError: a newer labelfactory wrote it.
        DamagedError: it is not a manifest, or a digest in it is none.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder, "manifest.parquet")
        path.write_bytes(data)
        try:
            manifest = read_manifest(path)
        except DataError as error:
            problem = f"{where}: {error.problem.replace(f'{path}: ', '')}"
            if isinstance(error, NewerFormatError):
                raise NewerFormatError(problem, error.remedy) from None
            raise DamagedError(problem, PUSH_AGAIN) from None
    for entry in manifest.entries:
        for digest in (entry.sha256, entry.mask_sha256):
            if digest is not None and not SHA256.fullmatch(digest):
                raise DamagedError(f"{where}: {digest[:80]!r} is not a SHA-256", PUSH_AGAIN)
    return manifest
