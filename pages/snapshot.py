"""All images in one table in memory, so that a grid of 10^5 images is filtered, sorted and paged quickly.

`pages.image_table` makes the table; it is made again when one of the files behind it changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from threading import Lock
from typing import Any

import duckdb

from labelfactory.dataset.prepared import ImageRecord
from labelfactory.dataset.withdrawn import Withdrawn
from labelfactory.errors import DataError
from labelfactory.settings.wiring import DATA
from lineage.lookup import Lookup, Model
from pages.image_query import ORDERS, PER_PAGE, QUALITIES, RATED, ImageQuery
from pages.image_table import make_image_table, read_head

RECORD = tuple(field.name for field in fields(ImageRecord))

Row = dict[str, Any]


@dataclass(frozen=True)
class GridPage:
    """One page of a grid of images."""

    rows: list[Row]
    total: int
    page: int

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // PER_PAGE))


class Snapshot:
    """The images at the time when it was made.

    Args:
        lookup: the ledger, for times and training rows; the caller lets no other thread use it meanwhile.

    Raises:
        MissingError, DataError: there is no data set, or it is damaged.
    """

    def __init__(self, lookup: Lookup | None) -> None:
        self.time = datetime.now(UTC)
        self._connection = duckdb.connect(":memory:")
        self._learnt: set[str] = set()
        self._lock = Lock()
        head = read_head()
        self.classes: tuple[str, ...] = ("background", *head["classes"])
        self.train_list, self.val_list = str(head["train_list"]), str(head["val_list"])
        try:
            scored = make_image_table(self._connection, lookup, head["classes"])
        except duckdb.Error as error:
            problem = f"a table under {DATA} cannot be read: {str(error).splitlines()[0]}"
            raise DataError(problem, "If no stage is at work, type `labelfactory audit verify`.") from None
        self.row_digests, self.unmeasured = scored.digests, scored.unmeasured
        self.truths = scored.truths
        self._gone = Withdrawn()
        self._count()

    def leave_out(self, gone: Withdrawn) -> None:
        """Drop images that were withdrawn since it was made."""
        with self._lock:
            if gone == self._gone:
                return
            withdrawn = [sorted(gone.image_ids), sorted(gone.photographs)]
            where = "list_contains(?::VARCHAR[], image_id) OR list_contains(?::VARCHAR[], sha256)"
            self._connection.cursor().execute(f"DELETE FROM images WHERE {where}", withdrawn)
            self._count()
            self._gone = gone

    def _count(self) -> None:
        self.count = self._number("SELECT count(*) FROM images")
        self.tags = self._counts("SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM images) GROUP BY tag")
        self.earlier = self._number("SELECT count(*) FROM images WHERE earlier <> ''")
        self.quarantined = self._number("SELECT count(*) FROM images WHERE set_aside_by <> ''")

    def _number(self, query: str, values: Sequence[Any] = ()) -> int:
        first = self._connection.cursor().execute(query, list(values)).fetchone()
        return int(first[0]) if first else 0

    def _counts(self, query: str) -> dict[str, int]:
        return dict(self._connection.cursor().execute(query).fetchall())

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[Row]:
        """Rows of a query. Each caller gets a cursor of its own: threads may ask at the same time."""
        result = self._connection.cursor().execute(query, list(values))
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def find(self, query: ImageQuery, model: Model | None = None) -> GridPage:
        """One page of the images that fit.

        Args:
            query: filters, order and page.
            model: the model that `query.since` or `query.of` names; `know` has been called for it.
        """
        source, where, values = self._conditions(query, model)
        total = self._number(f"SELECT count(*) FROM {source} WHERE {where}", values)
        page = min(query.page, max(1, -(-total // PER_PAGE)))
        figure = self._figure(query)
        order = ORDERS[query.order].format(figure=figure)
        rows = self.rows(
            f"SELECT i.*, {figure} AS figure FROM {source} WHERE {where} ORDER BY {order}, i.position LIMIT ? OFFSET ?",
            [*values, PER_PAGE, PER_PAGE * (page - 1)],
        )
        return GridPage(rows, total, page)

    def neighbours(self, query: ImageQuery, image_id: str, model: Model | None = None) -> tuple[str | None, str | None]:
        """The images before and after one, among those that fit, in the order of their grid."""
        source, where, values = self._conditions(query, model)
        order = ORDERS[query.order].format(figure=self._figure(query))
        rows = self.rows(
            f"""WITH placed AS (
                SELECT i.image_id, row_number() OVER (ORDER BY {order}, i.position) AS place
                FROM {source} WHERE ({where}) OR i.image_id = ?)
            SELECT n.image_id, n.place - o.place AS side FROM placed o JOIN placed n ON abs(n.place - o.place) = 1
            WHERE o.image_id = ?""",
            [*values, image_id, image_id],
        )
        found = {row["side"]: row["image_id"] for row in rows}
        return found.get(-1), found.get(1)

    def _conditions(self, query: ImageQuery, model: Model | None) -> tuple[str, str, list[Any]]:
        """The text after FROM and WHERE, and its values. No text of a URL becomes part of an SQL query."""
        source, parts = "images i", ["true"]
        values: list[Any] = []
        if model is not None:
            source += f" LEFT JOIN {_table_of(model)} l ON l.image_id = i.image_id"
            if query.of:
                parts.append("l.image_id IS NOT NULL")
            if query.since:
                parts.append("i.digest IS NOT NULL AND i.digest IS DISTINCT FROM l.digest")
        elif query.since:
            parts.append("i.time >= ?")
            values.append(query.after(self.time))
        if query.tag:
            parts.append("list_contains(i.tags, ?)")
            values.append(query.tag)
        if query.q:
            parts.append("contains(lower(i.image_id), ?)")
            values.append(query.q.lower())
        for sign, bound in ((">=", query.low), ("<=", query.high)):
            if bound is not None:
                parts.append(f"{self._figure(query)} {sign} ?")
                values.append(bound / 100)
        state = {"quarantined": "i.set_aside_by <> ''", "masks": "i.digest IS NOT NULL"}
        state |= {"none": "i.digest IS NULL AND i.set_aside_by = ''", "scored": "i.scored"}
        state |= {"human": "i.source = 'human' AND i.digest IS NOT NULL"}
        if query.state:
            parts.append(state[query.state])
        return source, " AND ".join(parts), values

    def _figure(self, query: ImageQuery) -> str:
        """SQL of the figure that a grid shows and is sorted by: in a grid of one class the quality is that of the class."""
        column = QUALITIES[query.quality].column
        if column == RATED and query.tag in self.classes:
            return f"i.quality_of[list_position(i.rated, {self.classes.index(query.tag)})]"
        return f"i.{column}"

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
        rows = self.rows("SELECT * FROM images WHERE image_id IN (SELECT unnest(?))", [ids]) if ids else []
        return {row["image_id"]: row for row in rows}


def record_of(row: Row) -> ImageRecord:
    """The image's record, as the data set has it."""
    values = {name: row[name] for name in RECORD}
    return ImageRecord(**{**values, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])})


def _table_of(model: Model) -> str:
    """The name of the table that holds what a model learnt from."""
    return f"learnt_{int(model.digest[:15], 16)}"
