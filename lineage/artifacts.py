"""What lies on disk and explains itself: shards, checkpoints and lists of training rows, in data/ and in DVC's cache.

DVC keeps every output that `dvc repro` ever made in its cache until somebody collects it. A shard and a checkpoint say
themselves what they are, so what was made and overwritten between two records is found there.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors

from labelfactory.errors import UserError
from labelfactory.files import write_json
from labelfactory.learning.checkpoints import Passport, read_passport

DATA = Path("data")
CACHE = Path(".dvc/cache/files/md5")
NETS = ("classifier", "affinity", "teacher", "segmenter", "upper_bound")
"""Folders that hold a checkpoint, in the order of the line."""
MAKERS = {"refine_crf": "masks", "random_walk": "walks", "extract_cams": "cams", "label_affinity": "affinity_labels"}
"""Which output a shard belongs to, by the stage that its header names."""
ROWS = {"image_id", "digest", "source"}
"""Columns of training_rows.parquet."""

What = Literal["masks", "walks", "cams", "affinity_labels", "checkpoint", "training rows"]


@dataclass(frozen=True)
class Found:
    """A file that says what it is."""

    path: Path
    what: What
    live: bool  # stands under data/; otherwise in DVC's cache
    time: datetime  # when it was written


class Seen:
    """Files that were looked at before, so that nothing is read twice. It may be deleted at any time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.known: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.known = {}
        self.fresh: dict[str, list[int]] = {}

    def is_new(self, path: Path) -> bool:
        """Whether the file was written since it was seen; remembers it for `keep`."""
        stat = path.stat()
        self.fresh[str(path)] = [stat.st_size, stat.st_mtime_ns]
        return self.known.get(str(path)) != self.fresh[str(path)]

    def keep(self) -> None:
        """Remember all that was looked at, now that it is recorded."""
        self.known |= self.fresh
        write_json(self.path, self.known)


def live_files() -> Iterator[Found]:
    """Shards, checkpoints and training rows under data/."""
    for noun in MAKERS.values():
        for path in sorted((DATA / noun).glob("shard-*.parquet")):
            yield Found(path, noun, True, _time(path))  # type: ignore[arg-type]
    for net in NETS:
        for name, what in (("checkpoint.safetensors", "checkpoint"), ("training_rows.parquet", "training rows")):
            path = DATA / net / name
            if path.exists():
                yield Found(path, what, True, _time(path))  # type: ignore[arg-type]


def cached_files(seen: Seen | None = None) -> Iterator[Found]:
    """The same in DVC's cache, oldest first; with `seen`, only what is new."""
    paths = [path for path in CACHE.glob("*/*") if path.suffix != ".dir" and path.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_mtime_ns, p.name)):
        what = what_is(path) if seen is None or seen.is_new(path) else None
        if what is not None:
            yield Found(path, what, False, _time(path))


def what_is(path: Path) -> What | None:
    """What a file without a telling name is, or None for anything that is not ours."""
    with path.open("rb") as stream:
        start = stream.read(9)
    if start.startswith(b"PAR1"):
        try:
            schema = pq.read_schema(path)
            names = set(schema.names)
        except (OSError, ValueError, pa.ArrowException):
            return None
        if names == ROWS:
            return "training rows"
        return MAKERS.get(header(schema).get("stage", ""))  # type: ignore[return-value]
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 100_000_000:
        return "checkpoint" if passport_or_none(path) is not None else None
    return None


def header(schema: pa.Schema) -> dict[str, Any]:
    """What a shard's header says of itself; empty where it says nothing."""
    found: dict[str, Any] = json.loads((schema.metadata or {}).get(b"labelfactory", b"{}"))
    return found


def passport_or_none(path: Path) -> Passport | None:
    """The passport of a checkpoint, None where the file has none that can be read."""
    try:
        return read_passport(path)
    except (UserError, safetensors.SafetensorError):
        return None


def _time(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=UTC).replace(microsecond=0)
