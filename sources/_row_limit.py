"""How many rows a table may have: a file of a few kilobytes can state billions of equal ones."""

from pathlib import Path

import pyarrow.parquet as pq

MOST_ROWS = 2**24
"""Rows of one Parquet or Arrow file; the 14.6 million boxes of Open Images' training list are fewer."""


def open_parquet(path: Path) -> pq.ParquetFile:
    """A Parquet file. Raises what pyarrow raises, and ValueError where it has more than MOST_ROWS rows."""
    opened = pq.ParquetFile(path)
    check_rows(opened.metadata.num_rows)
    return opened


def check_rows(rows: int) -> None:
    """Raise ValueError for more than MOST_ROWS rows."""
    if rows > MOST_ROWS:
        raise ValueError(f"{rows:,} rows are more than {MOST_ROWS:,}; split it")
