"""The ledger: append-only Parquet files under data/ledger/, each with the digest of the one before.

data/ledger/00000012-masks.parquet; schema metadata `labelfactory` (JSON): format, kind, sequence, previous (SHA-256 of the
file before, empty in the first). data/ledger/HEAD (JSON): sequence and digest of the last file. Kinds, one row each:
    masks      a mask of any time: image, tags, digests of its inputs, quality, execution, time
    training   a row that a model was trained on: image, label's digest and source, model, execution, time
    images     a photograph and a true mask that an image of an import or a data set had
    events     something that happened, as JSON: a model, an execution of a stage, a state of the line, an evaluation, a
               promotion, a withdrawal
Digests are stored as 32 bytes, repeating values as a dictionary. The ledger is history, not state: git ignores it and DVC
does not track it, so no checkout changes it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field

from labelfactory.dataset.withdrawn import LEDGER
from labelfactory.digests import digest_file
from labelfactory.errors import DataError, first_line
from labelfactory.files import make_folder, remove_leftovers, write_json, write_whole
from labelfactory.json_files import read_json
from labelfactory.learning.checkpoints import Passport
from labelfactory.lock import file_lock

FORMAT = 1
RESTORE = "Restore the file from a backup; the ledger cannot be made again."
ROW_GROUP = 16_384
"""Rows that are skipped together where a look-up cannot find its image among them."""

Kind = Literal["masks", "training", "images", "events"]
DIGEST = pa.binary(32)
TIME = pa.timestamp("ms", tz="UTC")

SCHEMAS: dict[Kind, pa.Schema] = {
    "masks": pa.schema(
        [
            ("image_id", pa.string()),
            ("image", DIGEST),  # SHA-256 of the photograph's file
            ("tags", pa.string()),  # joined by |
            ("digest", DIGEST),  # of the mask's row
            ("key", DIGEST),  # over all that the mask depends on
            ("source", pa.string()),  # the stage that made it, or human
            ("walk", DIGEST),  # of the walk's row
            ("cam", DIGEST),  # of the CAM's row
            ("recipe", pa.string()),  # JSON, noun → {name → digest}: code, parameters, weights, thresholds
            ("mean_confidence", pa.float32()),
            ("void_share", pa.float32()),
            ("agreement", pa.float32()),
            ("run", pa.string()),  # the execution that made it, empty where it is not known
            ("time", TIME),  # when the file that holds it was written
        ]
    ),
    "training": pa.schema(
        [
            ("image_id", pa.string()),
            ("digest", DIGEST),  # of the label's row, or of photograph and tags
            ("image", DIGEST),
            ("tags", pa.string()),
            ("key", DIGEST),
            ("source", pa.string()),  # tags, true masks, human, or the stage that made it
            ("model", DIGEST),  # of the weights; of a further training that ended with them, over all of it
            ("run", pa.string()),
            ("time", TIME),
        ]
    ),
    "images": pa.schema(
        [
            ("image_id", pa.string()),
            ("image", DIGEST),
            ("mask", DIGEST),  # SHA-256 of the true mask's file; null where it had none
            ("time", TIME),  # when the import or the data set that names it was written
        ]
    ),
    "events": pa.schema(
        [("event", pa.string()), ("subject", pa.string()), ("detail", pa.string()), ("time", TIME)],
    ),
}
ROW_COLUMNS = {"walks": "walk", "cams": "cam"}
"""Columns of the digests of the rows behind a mask, by row output; the digests of others stand in `recipe`."""
REPEATING = ("tags", "source", "recipe", "model", "run", "time", "event")
"""Columns whose values repeat: stored as a dictionary."""


class Head(BaseModel):
    """The content of HEAD."""

    sequence: Annotated[int, Field(ge=0)]
    digest: str


@dataclass(frozen=True)
class LedgerFile:
    """One file of the chain."""

    path: Path
    sequence: int
    kind: Kind

    def previous(self) -> str:
        """The digest of the file before, as this one names it; empty where it cannot be read."""
        try:
            meta = json.loads((pq.read_schema(self.path).metadata or {})[b"labelfactory"])
            return str(meta["previous"])
        except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError):
            return ""


class Ledger:
    """The chain of files in a folder."""

    def __init__(self, folder: Path = LEDGER) -> None:
        self.folder = folder

    @property
    def head_path(self) -> Path:
        """Names the last file and its digest: a file that is missing at the end is found by it."""
        return self.folder / "HEAD"

    def files(self, kind: Kind | None = None) -> list[LedgerFile]:
        """The files in order, of one kind or of all."""
        files = []
        for path in sorted(self.folder.glob("[0-9]*-*.parquet")):
            number, _, name = path.stem.partition("-")
            if number.isdigit() and name in get_args(Kind):
                files.append(LedgerFile(path, int(number), name))  # type: ignore[arg-type]
        return [f for f in files if kind in (None, f.kind)]

    def head(self) -> dict[str, Any]:
        """Sequence and digest of the last file as they were when it was written; sequence 0 where there is none.

        A damaged HEAD counts as none: `audit verify` says so, and the next record writes it again.
        """
        try:
            head: Head = read_json(self.head_path, Head, "")
        except DataError:
            return {"sequence": 0, "digest": ""}
        return head.model_dump()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process appends at a time; others wait."""
        make_folder(self.folder)
        with file_lock(self.folder / ".lock"):
            remove_leftovers(self.folder)
            yield

    def append(self, kind: Kind, table: pa.Table) -> Path | None:
        """Add a file to the chain, sorted by image where there is one. An empty table adds nothing.

        The caller holds `locked`. A file that was changed since it was written stays named by its first digest: the chain
        breaks there for everyone to see.
        """
        if not table.num_rows:
            return None
        sequence, previous = self.last()
        meta = {"format": FORMAT, "kind": kind, "sequence": sequence + 1, "previous": previous}
        ordered = table.cast(SCHEMAS[kind])
        if kind != "events":
            ordered = ordered.sort_by([("image_id", "ascending"), ("time", "ascending")])
        path = self.folder / f"{sequence + 1:08d}-{kind}.parquet"
        with write_whole(path) as temporary:
            pq.write_table(
                ordered.replace_schema_metadata({"labelfactory": json.dumps(meta)}),
                temporary,
                compression="zstd",
                row_group_size=ROW_GROUP,
                use_dictionary=[name for name in REPEATING if name in ordered.column_names],
                write_page_checksum=True,
            )
        write_json(self.head_path, {"sequence": sequence + 1, "digest": digest_file(path)})
        return path

    def last(self) -> tuple[int, str]:
        """Number and digest of the last file; HEAD lags behind by one where a writer was killed between the two."""
        files, head = self.files(), self.head()
        if not files or files[-1].sequence <= head["sequence"]:
            return head["sequence"], head["digest"]
        return files[-1].sequence, digest_file(files[-1].path)

    def read(self, kind: Kind, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows of a kind, in the chain's order.

        Raises:
            DataError: a file is damaged.
        """
        schema = SCHEMAS[kind]
        wanted = list(columns or schema.names)
        tables = [pa.schema([schema.field(name) for name in wanted]).empty_table()]
        for file in self.files(kind):
            try:
                read = pq.read_table(file.path, columns=wanted, partitioning=None, page_checksum_verification=True)
                tables.append(read.replace_schema_metadata(None).cast(tables[0].schema))
            except (OSError, ValueError, pa.ArrowException) as error:
                raise DataError(f"{file.path}: damaged: {first_line(error)}", RESTORE) from None
        return pa.concat_tables(tables)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of some kinds in order: event, subject, detail (as it was given), time.

        Raises:
            DataError: a file is damaged.
        """
        rows = [row for row in self.read("events").to_pylist() if row["event"] in kinds]
        try:
            events = [{**row, "detail": dict(json.loads(row["detail"]))} for row in rows]
            for event in events:
                if event["event"] == "model":
                    Passport.model_validate(event["detail"]["passport"])
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            problem = f"{self.folder}: an event is not one of ours: {first_line(error)}"
            raise DataError(problem, f"Type `labelfactory audit verify`. {RESTORE}") from None
        return events


def events_table(events: Iterable[tuple[str, str, Mapping[str, Any], Any]]) -> pa.Table:
    """Events as a table: (event, subject, detail, time)."""
    rows = [
        {"event": event, "subject": subject, "detail": json.dumps(detail, sort_keys=True), "time": time}
        for event, subject, detail, time in events
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMAS["events"])


def raw(digest: str | None) -> bytes | None:
    """A digest of 64 hex digits as the ledger stores it; None where there is none."""
    return bytes.fromhex(digest) if digest else None
