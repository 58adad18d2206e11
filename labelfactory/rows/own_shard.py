"""A stage's own shard, opened once: states first, the payload only where it is needed."""

from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.console import say
from labelfactory.errors import DataError, NewerFormatError
from labelfactory.rows.header import CODECS, STATE_COLUMNS, same_but_for_classes
from labelfactory.rows.shards import RowState, ShardFolder


class OwnShard:
    """One shard, open within a `with` block. One that is damaged, or whose header is not that of `schema`, is reported and
    counts as a shard without rows, so that its stage makes it again.

    Args:
        folder: of the stage that writes it.
        shard: its number.
        schema: of the stage's shards.
        compression: of the stage's shards, by its name in params.yaml.

    Attributes:
        well_stored: whether the file is compressed as it should be, and its header names the classes of today.

    Raises:
        NewerFormatError: on entering, where a newer labelfactory wrote it.
        DataError: likewise, where it is no file.
    """

    def __init__(self, folder: ShardFolder, shard: int, schema: pa.Schema, compression: str) -> None:
        self._folder, self._shard, self._schema, self._compression = folder, shard, schema, compression
        self._file: pq.ParquetFile | None = None
        self._table: pa.Table | None = None
        self.well_stored = True

    def __enter__(self) -> "OwnShard":
        self._folder.check_file(self._shard)
        if self._folder.path(self._shard).exists():
            self._attempt(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def states(self) -> dict[str, RowState]:
        """Every row without its payload; from the whole table if that was read already."""
        table = self._table
        if table is None:
            table = self._attempt(lambda: self._read(list(STATE_COLUMNS)))
        return self._attempt(lambda: self._folder.states_in(self._shard, table)) or {} if table is not None else {}

    def table(self) -> pa.Table | None:
        """The whole table; None where there is no file or it is damaged."""
        if self._table is None:
            self._table = self._attempt(lambda: self._read(None))
        return self._table

    def is_intact(self) -> bool:
        """Whether its payload is readable too, or there is no file; nothing of it is kept."""
        return self._file is None or self._attempt(lambda: self._read(None)) is not None

    def _open(self) -> None:
        self._file = pq.ParquetFile(self._folder.path(self._shard), page_checksum_verification=True)
        schema = self._file.schema_arrow
        self._folder.check_format(self._shard, schema)
        if not same_but_for_classes(schema, self._schema):
            raise self._folder.damaged(self._shard, "its header is not the stage's")
        self.well_stored = schema.equals(self._schema, check_metadata=True)
        if self._file.metadata.num_row_groups:
            stored = self._file.metadata.row_group(0).column(0).compression.lower()
            self.well_stored &= stored == CODECS[self._compression]

    def _read(self, columns: list[str] | None) -> pa.Table | None:
        return self._file.read(columns) if self._file is not None else None

    def _attempt(self, action: Any) -> Any:
        """Call `action`; any damage makes this a shard without rows."""
        try:
            return action()
        except NewerFormatError:
            self._close()
            raise
        except Exception as error:  # damaged bytes fail in any way
            problem = error if isinstance(error, DataError) else self._folder.damaged(self._shard, str(error))
            say(f"{problem.problem}: made again")
            self._close()
            self.well_stored, self._table = True, None
            return None

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
