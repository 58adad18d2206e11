"""Shards, checkpoints, lists of training rows and metrics, under data/ and in DVC's cache. A file itself names its content.

DVC keeps every output that `dvc repro` ever made in its cache until the cache is collected. Outputs that were overwritten
between two records are found there.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
from pydantic import BaseModel, Field

from labelfactory.dvc_cache import cache_folder
from labelfactory.errors import DataError, UserError
from labelfactory.files import write_json
from labelfactory.json_files import read_json
from labelfactory.learning.checkpoints import CHECKPOINT, TRAINING_ROWS, Passport, read_passport
from labelfactory.settings.wiring import DATA, METRICS, Wiring, read_wiring
from lineage.evaluation import is_as_written, measured_in

METRICS_BYTES = 2**26
"""A larger file is not taken for metrics."""
ROWS = {"image_id", "digest", "source", "photograph"}
"""Columns of that list; one of an earlier version has no photographs."""


def md5_of(path: Path) -> str:
    """The name that DVC's cache gives to a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Artifact:
    """A file that says what it holds.

    Attributes:
        path: where it lies.
        content: the noun of a row output (`masks`, `cams`, …), CHECKPOINT, TRAINING_ROWS or METRICS.name.
        live: whether it stands under data/; otherwise it lies in DVC's cache.
        time: when it was written.
    """

    path: Path
    content: str
    live: bool
    time: datetime


class KnownFiles:
    """Files that earlier records have read, by size and time, so that none is read twice. May be deleted at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, list[int]] = read_json(path, dict[str, list[int]], "")
        except DataError:
            self.known = {}
        self.fresh: dict[str, list[int]] = {}

    def is_new(self, path: Path) -> bool:
        """Whether the file was written since it was read; notes it for `keep`."""
        stat = path.stat()
        self.fresh[str(path)] = [stat.st_size, stat.st_mtime_ns]
        return self.known.get(str(path)) != self.fresh[str(path)]

    def keep(self) -> None:
        """Remember all that was read, now that it is recorded."""
        if self.fresh.items() <= self.known.items():
            return
        self.known |= self.fresh
        write_json(self.path, self.known)


def live_artifacts() -> Iterator[Artifact]:
    """Shards, checkpoints, training rows and metrics under data/."""
    wiring = read_wiring()
    for noun in wiring.row_outputs:
        for path in sorted((DATA / noun).glob("shard-*.parquet")):
            yield Artifact(path, noun, True, _time(path))
    for noun in wiring.networks:
        for name in (CHECKPOINT, TRAINING_ROWS):
            path = DATA / noun / name
            if path.exists():
                yield Artifact(path, name, True, _time(path))
    if METRICS.exists() and is_as_written() and measured_by(METRICS):
        yield Artifact(METRICS, METRICS.name, True, _time(METRICS))


def cached_artifacts(known: KnownFiles | None = None) -> Iterator[Artifact]:
    """The same in DVC's cache, oldest first; with `known`, only new files."""
    wiring = read_wiring()
    paths = [path for path in cache_folder().glob("*/*") if path.suffix != ".dir" and path.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_mtime_ns, p.name)):
        content = content_of(path, wiring) if known is None or known.is_new(path) else None
        if content is not None:
            yield Artifact(path, content, False, _time(path))


def content_of(path: Path, wiring: Wiring) -> str | None:
    """What a file without a telling name holds, as `Artifact.content`; None for a file that the line does not write."""
    with path.open("rb") as stream:
        start = stream.read(9)
    if start.startswith(b"PAR1"):
        try:
            schema = pq.read_schema(path)
            names = set(schema.names)
        except (OSError, ValueError, pa.ArrowException):
            return None
        if names in (ROWS, ROWS - {"photograph"}):
            return TRAINING_ROWS
        maker = wiring.stage_of(str(header(schema).get("stage", "")), "rows")
        return maker.noun if maker else None
    if start.startswith(b"{") and measured_by(path):
        return METRICS.name
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return CHECKPOINT if passport_or_none(path) is not None else None
    return None


class CachedFile(BaseModel):
    """One file of a folder in DVC's cache."""

    md5: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    relpath: str


def files_in(path: Path) -> list[CachedFile]:
    """The files of a folder, by its list in DVC's cache.

    Raises:
        DataError: the list is damaged.
    """
    listed: list[CachedFile] = read_json(path, list[CachedFile], f"Delete {path} and type `dvc commit` or `dvc pull`.")
    return listed


def measured_by(path: Path) -> dict[str, Any]:
    """The content of a metrics.json that says what it measured; empty for any other file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.stat().st_size < METRICS_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return content if measured_in(content) else {}


def header(schema: pa.Schema) -> dict[str, Any]:
    """What a shard's header says of itself; empty where there is no header that can be read."""
    try:
        return dict(json.loads((schema.metadata or {}).get(b"labelfactory", b"{}")))
    except (ValueError, TypeError, RecursionError):
        return {}


def passport_or_none(path: Path) -> Passport | None:
    """The passport of a checkpoint, None where the file has none that can be read."""
    try:
        return read_passport(path)
    except (UserError, safetensors.SafetensorError):
        return None


def _time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).replace(microsecond=0)
