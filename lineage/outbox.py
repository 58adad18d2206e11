"""Records for MLflow that are not delivered yet: one file per record, delivered in order, each once.

data/ledger/outbox/00000003-model.json, and beside it a folder with links to its checkpoint and its training rows, which
later runs cannot change.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfactory.dataset.withdrawn import LEDGER
from labelfactory.files import disk_errors, make_folder, write_json
from labelfactory.lock import file_lock

OUTBOX = LEDGER / "outbox"


@dataclass(frozen=True)
class Letter:
    """One record that waits for MLflow."""

    path: Path
    kind: str
    id: str
    detail: dict[str, Any]

    @property
    def files(self) -> Path | None:
        """The folder of files that go with it."""
        folder = self.path.with_suffix("")
        return folder if folder.exists() else None

    def done(self) -> None:
        """MLflow has it."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.path.with_suffix(""), ignore_errors=True)


class Outbox:
    """The letters in a folder."""

    def __init__(self, folder: Path = OUTBOX) -> None:
        self.folder = folder

    def put(self, kind: str, id: str, detail: dict[str, Any], files: Mapping[str, Path] | None = None) -> None:
        """Add a letter behind the others, with files by the names that they are to have. The caller holds the ledger's lock."""
        make_folder(self.folder)
        numbers = [int(path.name.partition("-")[0]) for path in self.folder.glob("[0-9]*-*.json")]
        path = self.folder / f"{max(numbers, default=0) + 1:08d}-{kind}.json"
        folder = path.with_suffix("")
        shutil.rmtree(folder, ignore_errors=True)  # of a writer that was killed
        with disk_errors(folder):
            for name, file in (files or {}).items():
                folder.mkdir(exist_ok=True)
                try:
                    os.link(file, folder / name)
                except OSError:  # another file system
                    shutil.copyfile(file, folder / name)
        write_json(path, {"kind": kind, "id": id, "detail": detail})

    def letters(self) -> list[Letter]:
        """What waits, in order."""
        letters = []
        for path in sorted(self.folder.glob("[0-9]*-*.json")):
            letters.append(Letter(path, **json.loads(path.read_text(encoding="utf-8"))))
        return letters

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process may deliver; another may be at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / ".lock", wait=False) as taken:
            yield taken
