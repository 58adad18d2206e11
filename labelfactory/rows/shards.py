"""Shards on disk: the rows of per-image stages, their states and their files.

data/<noun>/shard-00012.parquet, one row per image of the shard, in the data set's order:
    image_id  string
    key       string, SHA-256 over all inputs of the row; equal keys mean equal payloads
    digest    string, SHA-256 over the payload's values; empty when quarantined
    status    "ok" or "quarantined"; reason: string, empty when ok
    inputs    string, JSON: the inputs of the key, by name
    …         the stage's columns, null when quarantined
Rows hold no times: the same inputs give the same bytes. Times are in data/reports/<stage>.json.

A row whose key is unchanged is copied; a shard without work is not opened for writing. Keys contain the digests of upstream
rows, not their keys: nothing is recomputed below a row that was recomputed to the same bytes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.dataset.images import Photograph
from labelfactory.dataset.prepared import ImageRecord
from labelfactory.digests import digest_json, digest_payload
from labelfactory.errors import DataError, MissingError, NewerFormatError
from labelfactory.files import write_whole
from labelfactory.rows.columns import Column
from labelfactory.rows.header import ROW_FORMAT, STATE_COLUMNS, columns_of, stated_format

ROW_GROUP = 32

Row = Mapping[str, Any]
"""What a stage makes of one image: column name → value."""


@dataclass(frozen=True)
class Sample:
    """One image for a stage: its record and its rows of earlier stages."""

    record: ImageRecord
    rows: Mapping[str, Row]

    def of(self, noun: str) -> Row:
        """The image's row of an earlier stage, column name → value.

        Args:
            noun: of an output that the stage names in `reads_rows`, such as cams.

        Raises:
            KeyError: the stage does not read rows of that name.
        """
        if noun not in self.rows:
            raise KeyError(f"the stage does not read rows of {noun!r}; known: {', '.join(sorted(self.rows))}")
        return self.rows[noun]

    def photograph(self) -> Photograph:
        """[H, W, 3] uint8 RGB."""
        return self.record.photograph()


@dataclass(frozen=True)
class RowState:
    """A row without its payload."""

    image_id: str
    key: str
    digest: str
    status: str
    reason: str


@dataclass(frozen=True)
class FinishedRow(RowState):
    """A row to be written: encoded, with its digest."""

    inputs: str
    payload: Mapping[str, Any]


def row_key(inputs: Mapping[str, Any]) -> str:
    """SHA-256 over all inputs of a row, by name."""
    return digest_json(dict(inputs))


def finish(image_id: str, inputs: Mapping[str, Any], row: Row, columns: Mapping[str, Column]) -> FinishedRow:
    """Encode a row and compute its digest, which is over the values, not over how Parquet stores them."""
    if set(row) != set(columns):
        raise KeyError(f"{image_id}: the stage made {sorted(row)}, its columns are {sorted(columns)}")
    encoded = {name: column.encode(row[name], image_id) for name, column in columns.items()}
    values = {name: column.decode(encoded[name]) for name, column in columns.items()}
    return FinishedRow(
        image_id, row_key(inputs), digest_payload(values), "ok", "", json.dumps(inputs, sort_keys=True), encoded
    )


def quarantine(image_id: str, inputs: Mapping[str, Any], reason: str, columns: Iterable[str]) -> FinishedRow:
    """A row for an image that could not be processed."""
    payload = dict.fromkeys(columns)
    return FinishedRow(
        image_id, row_key(inputs), "", "quarantined", reason, json.dumps(inputs, sort_keys=True), payload
    )


class ShardFolder:
    """The shards of one per-image output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._last: tuple[tuple[int, int], pa.Table] | None = None

    def path(self, shard: int) -> Path:
        """The file of a shard."""
        return self.folder / f"shard-{shard:05d}.parquet"

    def shards(self) -> list[int]:
        """Numbers of the shards on disk."""
        return sorted(int(p.stem.removeprefix("shard-")) for p in self.folder.glob("shard-*.parquet"))

    def states(self, shard: int) -> dict[str, RowState]:
        """Every row of a shard without its payload; empty when there is no such shard.

        Raises:
            DataError: the file is damaged.
        """
        table = self.table(shard, columns=list(STATE_COLUMNS))
        return self.states_in(shard, table) if table is not None else {}

    def states_and_inputs(self, shard: int) -> tuple[dict[str, RowState], dict[str, str]]:
        """`states`, and what each row was made of as JSON, of one reading; empty when there is no such shard.

        Raises:
            DataError: the file is damaged.
        """
        table = self.table(shard, columns=[*STATE_COLUMNS, "inputs"])
        if table is None:
            return {}, {}
        states = self.states_in(shard, table)
        if "inputs" not in table.column_names:
            raise self.damaged(shard, "it has no column inputs")
        return states, dict(zip(table.column("image_id").to_pylist(), table.column("inputs").to_pylist(), strict=True))

    def states_in(self, shard: int, table: pa.Table) -> dict[str, RowState]:
        """`states` of a table that was read from the shard."""
        try:
            rows = table.select(list(STATE_COLUMNS)).to_pylist()
        except (KeyError, ValueError) as error:
            raise self.damaged(shard, str(error)) from None
        return {row["image_id"]: RowState(**row) for row in rows}

    def all_states(self) -> list[RowState]:
        """Every row of every shard without its payload.

        Raises:
            MissingError: there is no shard at all.
        """
        shards = self.shards()
        if not shards:
            raise MissingError(
                f"{self.folder}: holds no shards", "Type `dvc repro`: the stage that writes it has not run."
            )
        return [state for shard in shards for state in self.states(shard).values()]

    def rows(self, shard: int, wanted: Iterable[str]) -> dict[str, Row]:
        """Payloads of some rows of a shard, each checked against its digest; empty when there is no such shard.

        Raises:
            DataError: a row's bytes do not match its digest.
        """
        table = self.table(shard)
        return {} if table is None else self.rows_in(shard, table, wanted)

    def rows_in(self, shard: int, table: pa.Table, wanted: Iterable[str]) -> dict[str, Row]:
        """`rows` of a whole table that was read from the shard."""
        position = {image_id: i for i, image_id in enumerate(self.states_in(shard, table))}
        columns = self._columns(shard, table.schema)
        return {i: self._decoded(shard, table, position[i], columns) for i in wanted}

    def row(self, shard: int, position: int) -> Row:
        """One payload by its position in the shard, checked against its digest; reads only its row group.

        The last group is kept, so that reading row after row reads each group once.

        Raises:
            DataError: the file or the row is damaged.
        """
        shard_and_group = (shard, position // ROW_GROUP)
        if self._last is None or self._last[0] != shard_and_group:
            try:
                with pq.ParquetFile(self.path(shard), memory_map=True, page_checksum_verification=True) as opened:
                    group = opened.read_row_group(shard_and_group[1])
            except (OSError, pa.ArrowException) as error:
                raise self.damaged(shard, str(error)) from None
            self.check_format(shard, group.schema)
            self._last = (shard_and_group, group)
        group = self._last[1]
        return self._decoded(shard, group, position % ROW_GROUP, self._columns(shard, group.schema))

    def _decoded(self, shard: int, table: pa.Table, position: int, columns: Mapping[str, Column]) -> Row:
        name = f"row {position}"
        try:
            stored = table.slice(position, 1).to_pylist()[0]
            name = f"the row {stored['image_id']}"
            values = {name: column.decode(stored[name]) for name, column in columns.items()}
            intact = digest_payload(values) == stored["digest"]
        except Exception:  # damaged bytes fail in the decoder in any way
            intact = False
        if not intact:
            raise self.damaged(shard, f"the bytes of {name} do not match its digest")
        return values

    def _columns(self, shard: int, schema: pa.Schema) -> dict[str, Column]:
        try:
            return columns_of(schema)
        except ValueError as error:
            raise self.damaged(shard, str(error)) from None

    def check_format(self, shard: int, schema: pa.Schema) -> None:
        """Refuse rows of another format: NewerFormatError for newer ones, DataError for older ones, which their stage replaces."""
        try:
            stated = stated_format(schema)
        except ValueError as error:
            raise self.damaged(shard, str(error)) from None
        path = self.path(shard)
        if stated > ROW_FORMAT:
            raise NewerFormatError(
                f"{path}: format {stated} is newer than this program's {ROW_FORMAT}",
                f"Update labelfactory. To make these rows again with this program instead, delete {self.folder}.",
            )
        if stated < ROW_FORMAT:
            raise DataError(
                f"{path}: format {stated} is older than this program's {ROW_FORMAT}",
                "Type `dvc repro`: the stage that writes it makes it again.",
            )

    def check_file(self, shard: int) -> None:
        """Refuse a folder, a FIFO or a device in the place of a shard: it is nobody's to delete, and nothing can be written there.

        Raises:
            DataError: there is one.
        """
        path = self.path(shard)
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "not a regular file"
            raise DataError(
                f"{path}: is {what}, where a shard belongs", "Move it away; `labelfactory run` makes the shard again."
            )

    def damaged(self, shard: int, reason: str) -> DataError:
        """The error for a damaged shard."""
        path = self.path(shard)
        return DataError(
            f"{path}: damaged: {(reason.splitlines() or ['not readable'])[0]}", f"Delete {path} and type `dvc repro`."
        )

    def values(self, shard: int, name: str) -> dict[str, Any]:
        """A column of a shard by image, decoded, without the rest of the payload; None for a quarantined row.

        Raises:
            DataError: the file is damaged, or has no such column.
        """
        table = self.table(shard, columns=["image_id", name])
        if table is None:
            return {}
        if name not in table.column_names:
            raise self.damaged(shard, f"it has no column {name}")
        column = self._columns(shard, table.schema).get(name)
        stored = zip(table.column("image_id").to_pylist(), table.column(name).to_pylist(), strict=True)
        return {i: value if column is None or value is None else column.decode(value) for i, value in stored}

    def write(self, shard: int, table: pa.Table, compression: str = "zstd") -> None:
        """Write a shard atomically. The same rows give the same bytes."""
        write_table(self.path(shard), table, compression)

    def table(self, shard: int, columns: list[str] | None = None) -> pa.Table | None:
        """A whole shard, or some of its columns; None when there is no such file.

        Raises:
            DataError: the file is damaged, of another format, or no file.
        """
        path = self.path(shard)
        if not path.exists():
            return None
        self.check_file(shard)
        try:
            table = pq.read_table(path, columns=columns, partitioning=None, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise self.damaged(shard, str(error)) from None
        self.check_format(shard, table.schema)
        return table


def write_table(path: Path, table: pa.Table, compression: str) -> None:
    """Write rows atomically. The same rows give the same bytes."""
    with write_whole(path) as temporary:
        pq.write_table(
            table.combine_chunks(),
            temporary,
            compression=compression,
            row_group_size=ROW_GROUP,
            use_dictionary=False,
            write_page_checksum=True,
        )


def rows_table(rows: Sequence[FinishedRow], schema: pa.Schema) -> pa.Table:
    """Turn finished rows into a table of the shard's schema."""
    flat = [{name: getattr(row, name) for name in (*STATE_COLUMNS, "inputs")} | dict(row.payload) for row in rows]
    return pa.Table.from_pylist(flat, schema=schema)
