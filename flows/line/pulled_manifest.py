"""The manifest of another machine: read from what a remote sends, and its paths as they are valid here."""

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from labelfactory.dataset.manifest import Entry, Manifest, read_manifest
from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, NewerFormatError
from labelfactory.foreign_files import PHOTOGRAPHS, RAW, FileRefusedError, check_path, is_allowed, read_file

FETCHED = RAW / "pulled"
"""Fetched photographs whose path is outside of data/raw, by digest."""
SHA256 = re.compile(r"[0-9a-f]{64}")
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


def is_here(path: Path | str, sha256: str) -> bool:
    """Whether a path may be read and has these bytes."""
    try:
        return digest_bytes(read_file(check_path(path, "read"))) == sha256
    except FileRefusedError:
        return False


def settle(entry: Entry) -> Entry:
    """The entry with paths that are valid on this machine."""
    path = _local_path(entry.path, entry.sha256)
    if entry.mask_path is None or entry.mask_sha256 is None:
        return replace(entry, path=path)
    return replace(entry, path=path, mask_path=_local_path(entry.mask_path, entry.mask_sha256))


def _local_path(path: str, sha256: str) -> str:
    """The path itself if the file may be written there or is there already, else one below data/raw/pulled."""
    if is_allowed(path, "write") or is_here(path, sha256):
        return path
    suffix = PurePosixPath(path).suffix.lower()
    return (FETCHED / f"{sha256}{suffix if suffix in PHOTOGRAPHS else ''}").as_posix()
