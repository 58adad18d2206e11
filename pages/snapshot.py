"""Every image in one table in memory: what a grid of 10^5 images is filtered, sorted and paged by.

The table is made from data/dataset/images.parquet, the columns without payload of every shard, data/evaluation/images.parquet
and the ledger's times. It is made anew when one of these files changed; the payloads stay on disk.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.prepared import IMAGES, ImageRecord
from labelfactory.dataset.tables import HEAD
from labelfactory.errors import DataError, MissingError
from lineage.lookup import Lookup, Model
from pages.image_query import ORDERS, PER_PAGE, QUALITIES, Wishes

DATA = Path("data")
PER_IMAGE = ("masks", "walks", "affinity_labels", "cams")
"""Outputs with a row an image, the last one first: the first that set an image aside hides what follows from it."""
SCORES = DATA / "evaluation" / "images.parquet"
SCORED = ("seeds", "walks", "masks", "model")
RECORD = tuple(field.name for field in fields(ImageRecord))

Row = dict[str, Any]


def files_behind() -> tuple[tuple[str, int, int], ...]:
    """The files that a snapshot is made of, with size and time: another answer, another snapshot."""
    shards = [path for noun in PER_IMAGE for path in sorted((DATA / noun).glob("shard-*.parquet"))]
    found = []
    for path in (IMAGES, SCORES, *shards):
        try:
            stat = path.stat()
        except FileNotFoundError:  # a stage replaces its files while we look
            continue
        found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


@dataclass(frozen=True)
class Found:
    """One page of images."""

    rows: list[Row]
    total: int
    page: int

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // PER_PAGE))


class Snapshot:
    """The images as they stood when it was made.

    Args:
        lookup: the ledger, for times and for what models learnt; the caller sees to it that nobody else asks it now.

    Raises:
        MissingError, DataError: there is no data set, or it is damaged.
    """

    def __init__(self, lookup: Lookup | None) -> None:
        self.made = datetime.now(UTC)
        self._connection = duckdb.connect(":memory:")
        self._learnt: set[str] = set()
        self._lock = Lock()
        head = _head(IMAGES)
        self.classes: tuple[str, ...] = ("background", *head["classes"])
        self.train_list, self.val_list = str(head["train_list"]), str(head["val_list"])
        try:
            self._fill(lookup)
        except duckdb.Error as error:
            problem = f"a table under {DATA} cannot be read: {str(error).splitlines()[0]}"
            raise DataError(problem, "If no stage is at work, type `labelfactory audit verify`.") from None

    def _fill(self, lookup: Lookup | None) -> None:
        connection = self._connection
        connection.execute(f"CREATE TABLE dataset AS SELECT * FROM {PARQUET}", [[str(IMAGES)]])
        for noun in PER_IMAGE:
            _rows_of(connection, noun)
        _scores(connection)
        connection.register("ledger_times", _times(connection, lookup))
        aside = ", ".join(f"CASE WHEN {noun}.status <> 'ok' THEN '{noun}' END" for noun in reversed(PER_IMAGE))
        why = ", ".join(f"nullif({noun}.reason, '')" for noun in reversed(PER_IMAGE))
        joins = " ".join(f"LEFT JOIN rows_{noun} {noun} USING (image_id)" for noun in PER_IMAGE)
        connection.execute(
            f"""CREATE TABLE images AS SELECT d.*,
                coalesce(CASE WHEN d.status <> 'ok' THEN 'prepare' END, {aside}, '') AS set_aside_by,
                coalesce(nullif(d.reason, ''), {why}, '') AS why,
                nullif(masks.digest, '') AS digest, masks.key AS key,
                masks.mean_confidence, masks.void_share, masks.agreement, masks.source,
                nullif(cams.digest, '') AS cam_digest, nullif(walks.digest, '') AS walk_digest,
                {", ".join(f"s.{name} AS miou_{name}" for name in SCORED)}, s.image_id IS NOT NULL AS scored, t.time
            FROM dataset d {joins} LEFT JOIN scores s USING (image_id)
            LEFT JOIN ledger_times t ON t.image_id = d.image_id AND t.digest = masks.digest
            ORDER BY d.position"""
        )
        for noun in (*(f"rows_{n}" for n in PER_IMAGE), "dataset", "scores"):
            connection.execute(f"DROP TABLE {noun}")
        connection.unregister("ledger_times")
        self.count = self._number("SELECT count(*) FROM images")
        self.tags = self._counts("SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM images) GROUP BY tag")
        self.quarantined = self._number("SELECT count(*) FROM images WHERE set_aside_by <> ''")

    def _number(self, query: str, values: Sequence[Any] = ()) -> int:
        found = self._connection.cursor().execute(query, list(values)).fetchone()
        return int(found[0]) if found else 0

    def _counts(self, query: str) -> dict[str, int]:
        return dict(self._connection.cursor().execute(query).fetchall())

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query. Each caller gets a cursor of its own: threads may ask at the same time."""
        found = self._connection.cursor().execute(query, list(values))
        names = [column[0] for column in found.description or ()]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    def find(self, wishes: Wishes, model: Model | None = None) -> Found:
        """One page of the images that fit.

        Args:
            wishes: which, in what order.
            model: whose training rows `wishes.since` or `wishes.of` means; `know` has been called for it.
        """
        source, where, values = self._conditions(wishes, model)
        total = self._number(f"SELECT count(*) FROM {source} WHERE {where}", values)
        page = min(wishes.page, max(1, -(-total // PER_PAGE)))
        order = ORDERS[wishes.order].format(column=QUALITIES[wishes.quality].column)
        rows = self.rows(
            f"SELECT i.* FROM {source} WHERE {where} ORDER BY {order}, i.position LIMIT ? OFFSET ?",
            [*values, PER_PAGE, PER_PAGE * (page - 1)],
        )
        return Found(rows, total, page)

    def neighbours(self, wishes: Wishes, position: int, model: Model | None = None) -> tuple[str | None, str | None]:
        """The images before and after one in the import's order, among those that fit."""
        source, where, values = self._conditions(wishes, model)
        found: list[str | None] = []
        for sign, order in (("<", "DESC"), (">", "ASC")):
            query = f"SELECT i.image_id FROM {source} WHERE {where} AND i.position {sign} ? ORDER BY i.position {order}"
            rows = self.rows(f"{query} LIMIT 1", [*values, position])
            found.append(rows[0]["image_id"] if rows else None)
        return found[0], found[1]

    def _conditions(self, wishes: Wishes, model: Model | None) -> tuple[str, str, list[Any]]:
        """What stands after FROM and WHERE. No text of a wish becomes part of a query: each is a value."""
        source, parts = "images i", ["true"]
        values: list[Any] = []
        if model is not None:
            source += f" LEFT JOIN {_table_of(model)} l ON l.image_id = i.image_id"
            if wishes.of:
                parts.append("l.image_id IS NOT NULL")
            if wishes.since:
                parts.append("i.digest IS NOT NULL AND i.digest IS DISTINCT FROM l.digest")
        elif wishes.since:
            parts.append("i.time >= ?")
            values.append(wishes.after(self.made))
        if wishes.tag:
            parts.append("list_contains(i.tags, ?)")
            values.append(wishes.tag)
        if wishes.q:
            parts.append("contains(lower(i.image_id), ?)")
            values.append(wishes.q.lower())
        column = QUALITIES[wishes.quality].column
        for sign, bound in ((">=", wishes.low), ("<=", wishes.high)):
            if bound is not None:
                parts.append(f"i.{column} {sign} ?")
                values.append(bound / 100)
        state = {"quarantined": "i.set_aside_by <> ''", "masks": "i.digest IS NOT NULL"}
        state |= {"none": "i.digest IS NULL AND i.set_aside_by = ''", "scored": "i.scored"}
        state |= {"human": "i.source = 'human' AND i.digest IS NOT NULL"}
        if wishes.state:
            parts.append(state[wishes.state])
        return source, " AND ".join(parts), values

    def know(self, model: Model, lookup: Lookup) -> None:
        """Read what a model learnt from, once."""
        name = _table_of(model)
        with self._lock:
            if name not in self._learnt:
                cursor = self._connection.cursor()
                cursor.register("fresh", lookup.training(model.digest))
                cursor.execute(f"CREATE TABLE {name} AS SELECT image_id, lower(hex(digest)) AS digest FROM fresh")
                cursor.unregister("fresh")
                self._learnt.add(name)

    def row(self, image_id: str) -> Row | None:
        """All that is known of an image without opening a payload; None for one that is not in the data set."""
        rows = self.rows("SELECT * FROM images WHERE image_id = ?", [image_id])
        return rows[0] if rows else None

    def some(self, image_ids: Iterable[str]) -> dict[str, Row]:
        """The same of several images, by id; those that are not in the data set are left out."""
        ids = list(image_ids)
        found = self.rows("SELECT * FROM images WHERE image_id IN (SELECT unnest(?))", [ids]) if ids else []
        return {row["image_id"]: row for row in found}


PARQUET = "read_parquet(?, hive_partitioning = false)"


def record_of(row: Row) -> ImageRecord:
    """The image's record, as the data set has it."""
    values = {name: row[name] for name in RECORD}
    return ImageRecord(**{**values, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])})


def _head(path: Path) -> Row:
    if not path.exists():
        raise MissingError("there is no data set yet", "Type `labelfactory import demo`, then `labelfactory run`.")
    try:
        head: Row = json.loads(pq.read_schema(path).metadata[HEAD])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        problem = f"{path}: not readable: {str(error).splitlines()[0]}"
        raise DataError(problem, "Type `labelfactory import …`, then `labelfactory run`.") from None
    return head


def _rows_of(connection: duckdb.DuckDBPyConnection, noun: str) -> None:
    """The rows of a per-image output without their payload; an empty table where it was not made yet."""
    paths = [str(path) for path in sorted((DATA / noun).glob("shard-*.parquet"))]
    quality = "mean_confidence, void_share, agreement" if noun == "masks" else ""
    if paths and noun == "masks":
        quality += ", source" if _has_source(paths[0]) else ", 'refine_crf' AS source"
    if paths:
        columns = f"image_id, key, digest, status, reason{', ' + quality if quality else ''}"
        connection.execute(f"CREATE TABLE rows_{noun} AS SELECT {columns} FROM {PARQUET}", [paths])
        return
    numbers = ", mean_confidence FLOAT, void_share FLOAT, agreement FLOAT, source VARCHAR" if quality else ""
    text = "image_id VARCHAR, key VARCHAR, digest VARCHAR, status VARCHAR, reason VARCHAR"
    connection.execute(f"CREATE TABLE rows_{noun} ({text}{numbers})")


def _has_source(path: str) -> bool:
    """Whether a shard of masks says who drew them; older ones do not. DuckDB names a damaged one."""
    try:
        return "source" in pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False


def _times(connection: duckdb.DuckDBPyConnection, lookup: Lookup | None) -> pa.Table:
    """When the ledger last saw a mask appear that is on disk now: image_id, digest, time in milliseconds since 1970."""
    masks = connection.sql("SELECT image_id, digest FROM rows_masks WHERE digest <> ''").to_arrow_table()
    if lookup is None or not masks.num_rows:
        return masks.append_column("time", pa.nulls(masks.num_rows, pa.int64()))
    ledger = lookup.connection.cursor()
    ledger.register("on_disk", masks)
    return ledger.sql(
        """SELECT o.image_id, o.digest, max(m.time) AS time FROM masks m JOIN on_disk o
        ON m.image_id = o.image_id AND m.digest = unhex(o.digest) GROUP BY ALL"""
    ).to_arrow_table()


def _scores(connection: duckdb.DuckDBPyConnection) -> None:
    columns = ", ".join(SCORED)
    if SCORES.exists():
        connection.execute(f"CREATE TABLE scores AS SELECT image_id, {columns} FROM {PARQUET}", [[str(SCORES)]])
    else:
        connection.execute(f"CREATE TABLE scores (image_id VARCHAR, {', '.join(f'{n} FLOAT' for n in SCORED)})")


def _table_of(model: Model) -> str:
    """The name of the table that holds what a model learnt from."""
    return f"learnt_{int(model.digest[:15], 16)}"
