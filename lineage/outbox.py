"""Records for MLflow that are not delivered yet: one file per record, delivered in order, each once.

data/ledger/outbox/00000003-model.json, and beside it a folder with links to its checkpoint and its training rows, which
later runs cannot change. A letter that MLflow refuses stays, with the reason in it, and is tried again with each delivery.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from labelfactory.dataset.withdrawn import LEDGER
from labelfactory.errors import DataError
from labelfactory.files import disk_errors, make_folder, remove_leftovers, write_json
from labelfactory.json_files import read_json
from labelfactory.lock import file_lock

OUTBOX = LEDGER / "outbox"


class _Content(BaseModel):
    """The content of a letter's file."""

    kind: str
    id: str
    detail: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Letter:
    """One record that waits for MLflow."""

    path: Path
    kind: str
    id: str
    detail: dict[str, Any]
    problem: str = ""  # why MLflow refused it when it was last tried

    @property
    def needs(self) -> set[str]:
        """Ids of letters without which this one would lose something: a run its line, a model its run, a mark its models, a level
        its model."""
        names = {"execution": ("line", "model"), "model": ("run",), "promoted": ("model",), "level": ("model",)}.get(
            self.kind, ()
        )
        models = self.detail.get("models", ()) if self.kind == "withdrawn" else ()
        return {str(self.detail.get(name)) for name in names} | set(map(str, models))

    def follows(self, other: "Letter") -> bool:
        """Whether both are models of one name, and the other has the lower number."""
        models = self.kind == other.kind == "model" and self.detail.get("name") == other.detail.get("name")
        return models and int(other.detail.get("version", 0)) < int(self.detail.get("version", 0))

    @property
    def line(self) -> str:
        """The letter and its problem in one line."""
        return f"{self.kind} {self.id[:12]}: {self.problem}"

    @property
    def files(self) -> Path | None:
        """The folder of files that go with it."""
        folder = self.path.with_suffix("")
        return folder if folder.exists() else None

    def refuse(self, problem: str) -> None:
        """Note why it was not taken; it is tried again."""
        if problem != self.problem:
            write_json(self.path, {"kind": self.kind, "id": self.id, "detail": self.detail, "problem": problem})

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
        remove_leftovers(self.folder, alone=False)  # who delivers may note in a letter why it was refused
        numbers = [int(path.name.partition("-")[0]) for path in self._paths()]
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

    def waits(self) -> bool:
        """Whether there is any letter, damaged or not."""
        return bool(self._paths())

    def letters(self) -> list[Letter]:
        """What waits, in order; without damaged files."""
        return [letter for letter in map(_read, self._paths()) if letter is not None]

    def refused(self) -> list[Letter]:
        """The letters that MLflow did not take when they were last tried, though it answered."""
        return [letter for letter in self.letters() if letter.problem]

    def drop_damaged(self) -> set[str]:
        """Delete letters that are damaged. Gives their kinds: the ledger has their events (`lineage.resend`)."""
        damaged = [path for path in self._paths() if _read(path) is None]
        for path in damaged:
            path.unlink(missing_ok=True)
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        return {path.stem.partition("-")[2] for path in damaged}

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*-*.json") if path.name.partition("-")[0].isdigit())

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process may deliver; another may be at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / ".lock", wait=False) as taken:
            yield taken


def _read(path: Path) -> Letter | None:
    """The letter in a file; None where it is damaged, or where another process has just delivered it."""
    try:
        content: _Content = read_json(path, _Content, "")
    except DataError:
        return None
    return Letter(path, **content.model_dump())
