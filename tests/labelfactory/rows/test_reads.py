"""How often the engine reads a file: the payload of each shard at most once in a run, whatever there is to do."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from brightness import Outline, update

from labelfactory.rows.header import STATE_COLUMNS

Reads = Counter[tuple[str, int, str]]
"""(noun, shard, "states" or "payload") → how often."""


@pytest.fixture
def reads(monkeypatch) -> Iterator[Reads]:
    """Counts what is read of shards through either of pyarrow's ways."""
    counted: Reads = Counter()

    def note(path: Any, columns: list[str] | None) -> None:
        if Path(path).name.startswith("shard-"):
            what = "states" if columns is not None and set(columns) <= set(STATE_COLUMNS) else "payload"
            counted[Path(path).parent.name, int(Path(path).stem[-5:]), what] += 1

    class Counting(pq.ParquetFile):
        def __init__(self, source: Any, **options: Any) -> None:
            super().__init__(source, **options)
            self.source_path = source

        def read(self, columns: list[str] | None = None, **options: Any) -> Any:
            note(self.source_path, columns)
            return super().read(columns, **options)

        def read_row_group(self, group: int, columns: list[str] | None = None, **options: Any) -> Any:
            note(self.source_path, columns)
            return super().read_row_group(group, columns, **options)

    read_table = pq.read_table

    def counting(source: Any, *, columns: list[str] | None = None, **options: Any) -> Any:
        note(source, columns)
        return read_table(source, columns=columns, **options)

    monkeypatch.setattr(pq, "ParquetFile", Counting)
    monkeypatch.setattr(pq, "read_table", counting)
    yield counted
    assert counted, "nothing was counted: the engine reads in another way"


def test_a_shard_without_work_is_read_once(project, reads):
    """Its payload for damage alone; of what it is made of, nothing but states."""
    update()
    update(Outline)
    reads.clear()
    assert update(Outline)[0] == []
    own = {("outline", shard, what): 1 for shard in range(3) for what in ("states", "payload")}
    assert reads == own | {("brightness", shard, "states"): 1 for shard in range(3)}


def test_a_shard_with_work_is_read_once_for_plan_and_copy(project, reads):
    """And once what it is made of: the survey of all shards looks at states alone."""
    update()
    update(Outline)
    project.repaint("d", seed=3)
    update()
    reads.clear()
    assert update(Outline)[0] == ["d"]
    own = {("outline", shard, what): 1 for shard in range(3) for what in ("states", "payload")}
    above = {("brightness", shard, "states"): 1 for shard in range(3)}
    assert reads == own | above | {("brightness", 1, "payload"): 1}


def test_a_first_run_reads_what_is_above_once(project, reads):
    """There is nothing of its own to read."""
    update()
    reads.clear()
    assert update(Outline)[0] == list("abcde")
    assert reads == {("brightness", shard, what): 1 for shard in range(3) for what in ("states", "payload")}


def test_copying_alone_reads_no_payload_above(project, reads):
    """A row that went leaves its neighbours to be copied: what they were made of is of no interest."""
    update()
    update(Outline)
    project.remove("a")
    update()
    reads.clear()
    assert update(Outline)[0] == []
    assert [read for read in reads if read[0] == "brightness" and read[2] == "payload"] == []


def test_damage_in_a_shard_that_only_loses_a_row_is_found(project, monkeypatch):
    """The survey saw its states alone and announced no work: it is made again all the same, rows and all."""
    update()
    project.remove("a")
    monkeypatch.setattr(pq, "ParquetFile", damaged_payload(Path("data/brightness/shard-00000.parquet")))
    assert update()[0] == ["b"]


def damaged_payload(path: Path) -> type[pq.ParquetFile]:
    """A reader that finds the payload of one file damaged, and its states whole."""

    class Damaged(pq.ParquetFile):
        def __init__(self, source: Any, **options: Any) -> None:
            super().__init__(source, **options)
            self.damaged = source == path

        def read(self, columns: list[str] | None = None, **options: Any) -> Any:
            if self.damaged and columns is None:
                raise OSError("page checksum verification failed")
            return super().read(columns, **options)

    return Damaged
