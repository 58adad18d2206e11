"""Where the photographs and true masks of a pushed import lie on this machine, so that `pull` replaces no file.

A file keeps the path that this machine's import has for it, if its bytes are there; else it gets the one of the manifest. Where
other bytes are, or nothing may be written, it goes below data/raw/pulled under its digest. No path is given to two digests.
"""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from labelfactory.dataset.manifest import Entry, Manifest
from labelfactory.digests import digest_bytes
from labelfactory.foreign_files import PHOTOGRAPHS, RAW, FileRefusedError, check_path, is_allowed, read_file

FETCHED = RAW / "pulled"
"""Fetched files whose path is outside of data/raw, or has other bytes."""

MOST = 100
"""Names below data/raw/pulled that are tried for a file."""

IsHere = Callable[[str, str], bool]
"""`is_here`, or what remembers its answers."""


@dataclass(frozen=True)
class Settled:
    """A manifest with paths that are valid on this machine."""

    manifest: Manifest
    kept: tuple[str, ...]
    """Files of this machine that are where the manifest had others; they stay."""


class _Claims:
    """Paths that have a digest. None is of two, and none is a folder of another."""

    def __init__(self) -> None:
        self._digests: dict[str, str] = {}
        self._folders: set[str] = set()

    def allow(self, path: str, sha256: str) -> bool:
        """Whether a file of this digest may have the path."""
        real = Path(os.path.realpath(path))
        apart = str(real) not in self._folders and not any(str(folder) in self._digests for folder in real.parents)
        return apart and self._digests.get(str(real), sha256) == sha256

    def add(self, path: str, sha256: str) -> None:
        """Note the digest of a path that has none yet."""
        real = Path(os.path.realpath(path))
        self._digests.setdefault(str(real), sha256)
        self._folders.update(map(str, real.parents))


def is_here(path: Path | str, sha256: str) -> bool:
    """Whether a path may be read and has these bytes."""
    try:
        return digest_bytes(read_file(check_path(path, "read"))) == sha256
    except FileRefusedError:
        return False


def at_own_paths(there: Manifest, here: Manifest, check: IsHere = is_here) -> Manifest:
    """The pushed manifest with this machine's paths, where they have files: what is here already needs no second copy."""
    own = {entry.image_id: entry for entry in here.entries}
    return replace(there, entries=tuple(_at_own(entry, own.get(entry.image_id), check) for entry in there.entries))


def settle(manifest: Manifest, pushed: Collection[str], check: IsHere = is_here) -> Settled:
    """Give each file a path that has its bytes, or that is free for them.

    Args:
        manifest: the pushed import with what was changed here.
        pushed: SHA-256 of the files that the remote has. The paths of others are this machine's, and stay.
        check: as `is_here`.
    """
    paths: dict[tuple[str, str], str] = {}
    claims = _Claims()
    kept: dict[str, None] = {}
    named = dict.fromkeys(pair for entry in manifest.entries for pair in _files(entry))
    for path, digest in sorted(named, key=lambda pair: pair[1] in pushed):  # first what cannot lie elsewhere
        chosen = path
        if digest in pushed:
            names = [path, *_fetched(path, digest)]
            chosen = next((name for name in names if _is_valid(name, digest, claims, check)), names[1])
            if chosen != path and is_allowed(path, "write") and os.path.lexists(path):
                kept[path] = None
        if is_allowed(chosen, "read"):
            claims.add(chosen, digest)
        paths[path, digest] = chosen
    entries = tuple(_moved(entry, paths) for entry in manifest.entries)
    return Settled(replace(manifest, entries=entries), tuple(kept))


def _at_own(entry: Entry, own: Entry | None, check: IsHere) -> Entry:
    if own is None:
        return entry
    if own.sha256 == entry.sha256 and _has_file(own.path, own.sha256, check):
        entry = replace(entry, path=own.path)
    if (
        own.mask_path
        and own.mask_sha256 == entry.mask_sha256
        and _has_file(own.mask_path, own.mask_sha256 or "", check)
    ):
        entry = replace(entry, mask_path=own.mask_path)
    return entry


def _has_file(path: str, sha256: str, check: IsHere) -> bool:
    """Whether the file of an own entry is there, or another one below data/raw, which `settle` then names as edited."""
    return check(path, sha256) or (is_allowed(path, "write") and os.path.lexists(path))


def _files(entry: Entry) -> Iterator[tuple[str, str]]:
    """Path and digest of the photograph, and of the true mask."""
    yield entry.path, entry.sha256
    if entry.mask_path is not None and entry.mask_sha256 is not None:
        yield entry.mask_path, entry.mask_sha256


def _moved(entry: Entry, paths: dict[tuple[str, str], str]) -> Entry:
    path = paths[entry.path, entry.sha256]
    if entry.mask_path is None or entry.mask_sha256 is None:
        return replace(entry, path=path)
    return replace(entry, path=path, mask_path=paths[entry.mask_path, entry.mask_sha256])


def _fetched(path: str, sha256: str) -> list[str]:
    """Paths below data/raw/pulled: several, since a person may have edited the file at the first."""
    suffix = PurePosixPath(path).suffix.lower()
    suffix = suffix if suffix in PHOTOGRAPHS else ""
    numbers = ("", *(f"-{number}" for number in range(1, MOST)))
    return [(FETCHED / f"{sha256}{number}{suffix}").as_posix() for number in numbers]


def _is_valid(path: str, sha256: str, claims: _Claims, check: IsHere) -> bool:
    if not (is_allowed(path, "read") or is_allowed(path, "write")) or not claims.allow(path, sha256):
        return False
    return check(path, sha256) or (is_allowed(path, "write") and _is_free(Path(path)))


def _is_free(path: Path) -> bool:
    """Whether nothing has the name, and all above it are folders or missing."""
    above = next(folder for folder in path.parents if os.path.lexists(folder))
    return above.is_dir() and not os.path.lexists(path)
