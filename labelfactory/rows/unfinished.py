"""Rows of a shard that is being computed, on the disk before the shard is: what an interruption or a kill leaves of it.

data/<noun>/.shard-00012.0001.part, …: Parquet as the shard's, the rows of a few seconds each. The next run takes up the rows
whose key is still right, and deletes the files when it has written the shard.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.rows.intact import intact_rows
from labelfactory.rows.shards import FinishedRow, ShardFolder, rows_table, write_table

FLUSH_SECONDS = 10.0
"""A kill costs the rows of this time at most, an interruption none but those in hand."""


class UnfinishedShard:
    """The finished rows of one shard.

    Args:
        folder: of its stage.
        shard: its number.
        schema: of the stage's shards.
        compression: of the stage's shards, by its name in params.yaml.
    """

    def __init__(self, folder: ShardFolder, shard: int, schema: pa.Schema, compression: str) -> None:
        self._folder, self._name = folder.folder, f".{folder.path(shard).stem}"
        self._schema, self._compression = schema, compression
        self._files = sorted(self._folder.glob(f"{self._name}.*.part"))
        self._waiting: list[FinishedRow] = []
        self._written = time.monotonic()

    def take_up(self, keys: Mapping[str, str]) -> dict[str, FinishedRow]:
        """Rows that an earlier run finished: image_id → row. Damaged files and rows are left out.

        Args:
            keys: image_id → key of the row that is wanted.
        """
        rows = (row for path in self._files for row in self._read(path))
        return {row.image_id: row for row in rows if keys.get(row.image_id) == row.key}

    def add(self, rows: Sequence[FinishedRow]) -> None:
        """Take finished rows; write those of the last FLUSH_SECONDS. Quarantined ones are tried again by the next run."""
        self._waiting += [row for row in rows if row.status == "ok"]
        if time.monotonic() - self._written > FLUSH_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the rows that are not on the disk yet. Raises DiskError as `write_whole`."""
        if self._waiting:
            path = self._folder / f"{self._name}.{len(self._files) + 1:04d}.part"
            write_table(path, rows_table(self._waiting, self._schema), self._compression)
            self._files.append(path)
        self._waiting, self._written = [], time.monotonic()

    def remove(self) -> None:
        """Delete the files: the shard is written."""
        for path in self._files:
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> list[FinishedRow]:
        """The intact rows of a file of the same stage."""
        try:
            table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
            return intact_rows(table, self._schema)
        except Exception:  # damaged bytes fail in any way
            return []


def remove_unfinished(folder: Path) -> None:
    """Delete what runs left of shards that are up to date by now."""
    for path in folder.glob(".shard-*.part"):
        path.unlink(missing_ok=True)
