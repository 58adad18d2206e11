"""The files below data/raw, found by their bytes: photographs and true masks that come back, under whatever name.

A digest whose size is known is compared with the files of that size alone. Where it is not known, as of a photograph that was
changed before it was withdrawn, every file is read. What was read is kept in data/ledger/raw.json, by the file's place and times
on the disk and without names, so that the next command reads new files alone; that file may be deleted.
"""

import hashlib
import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from labelfactory.dataset.withdrawn import LEDGER
from labelfactory.digests import digest_file
from labelfactory.errors import DataError
from labelfactory.files import DiskError, write_json
from labelfactory.foreign_files import RAW
from labelfactory.json_files import Sha256, read_json

KEPT = LEDGER / "raw.json"
"""What a file looks like on the disk → its SHA-256."""
SETTLED = 2.0
"""Seconds; a file that was changed later than that may change again within the same tick of the disk's clock."""


class RawFiles:
    """The files below data/raw as they are when they are first asked for; links are not followed."""

    def same(self, digests: Collection[str], sizes: Mapping[str, int]) -> dict[Path, str]:
        """Files with one of these digests, and the digest of each.

        Args:
            digests: SHA-256, such as those of a withdrawn photograph and its true mask.
            sizes: digest → bytes, as far as they are known.
        """
        found: dict[Path, str] = {}
        known, is_any = {sizes.get(digest) for digest in digests}, not sizes.keys() >= set(digests)
        for path, state in self._states.items() if digests else ():
            if is_any or state.st_size in known:
                with suppress(OSError):  # it has just gone, or nobody may read it: the search names it
                    digest = self._digest(path, state)
                    found |= {path: digest} if digest in digests else {}
        self._keep()
        return found

    @cached_property
    def _states(self) -> dict[Path, os.stat_result]:
        states = {}
        for path in sorted(RAW.rglob("*")):
            with suppress(FileNotFoundError):
                if not path.is_symlink() and path.is_file():
                    states[path] = path.stat()
        return states

    @cached_property
    def _known(self) -> dict[str, str]:
        try:
            known: dict[str, str] = read_json(KEPT, dict[str, Sha256], "")
        except DataError:  # there is none yet, or it is damaged: the files are read
            return {}
        return known

    @cached_property
    def _fresh(self) -> dict[str, str]:
        return {}

    def _digest(self, path: Path, state: os.stat_result) -> str:
        mark = _mark(state)
        if mark in self._known:
            return self._known[mark]
        settled, digest = time.time() - state.st_ctime > SETTLED, digest_file(path)
        if settled and _mark(path.stat()) == mark:
            self._known[mark] = self._fresh[mark] = digest
        return digest

    def _keep(self) -> None:
        """Write down what was read, without what is not there any more."""
        if not self._fresh or not LEDGER.is_dir():
            return
        present = {_mark(state) for state in self._states.values()}
        with suppress(OSError, DiskError):  # it only saves reading
            write_json(KEPT, {mark: digest for mark, digest in self._known.items() if mark in present})
        self._fresh.clear()


def _mark(state: os.stat_result) -> str:
    """What tells a file that has not changed, without its name; nobody can set the time of its last change."""
    parts = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
