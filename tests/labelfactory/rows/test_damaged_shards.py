"""Damaged shards: those of our own are made again, those from above are an error; no wrong byte is used."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from brightness import Brightness, Outline, files, update
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from labelfactory.errors import DataError
from labelfactory.rows.engine import Tally
from labelfactory.rows.shards import ShardFolder


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_shard_of_our_own_is_made_again(project, cut, capsys):
    """Only this shard, to the same bytes, and it is said."""
    update()
    whole = files()
    path = Path("data/brightness/shard-00000.parquet")
    path.write_bytes(whole[path.name][:cut])
    assert update() == (["a", "b"], Tally(2, 3, 0, 1, 0))
    assert files() == whole
    assert "made again" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_truncated_shard_from_above_is_an_error_with_a_remedy(project, cut):
    """It names the file and what to type; never a crash, never silence."""
    update()
    path = Path("data/brightness/shard-00000.parquet")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"shard-00000.parquet: damaged") as caught:
        update(Outline)
    assert str(path) in caught.value.remedy


@pytest.mark.parametrize("shard", [0, 9], ids=["of the data set", "of no image"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_named_and_left(project, make, shard, capsys):
    """In the place of a shard: nothing is computed first, said to be made again, or deleted; nor is it read from below."""
    update()
    path = Path(f"data/brightness/shard-{shard:05d}.parquet")
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(DataError, match=f"{path}: is .*, where a shard belongs") as caught:
        update()
    assert "Move it away" in caught.value.remedy
    assert Brightness.processed == []
    assert "made again" not in capsys.readouterr().err
    assert path.exists()
    assert not path.is_file()
    with pytest.raises(DataError, match="where a shard belongs"):
        ShardFolder(path.parent).table(shard)


DAMAGE = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_a_flipped_bit(whole: bytes, place: float, bit: int) -> bytes:
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    return bytes(damaged)


PLACES = st.floats(0, 1, exclude_max=True)


@DAMAGE
@given(place=PLACES, bit=st.integers(0, 7))
@example(place=0.412109375, bit=0)  # the name of a field inside a column: data became eata
def test_any_flipped_bit_of_our_own_shard_is_mended_or_harmless(project, place, bit):
    """After the next run every value is what it was, wherever the bit stood."""
    path = Path("data/brightness/shard-00000.parquet")
    if not path.exists():
        update()
        shutil.copy(path, "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    path.write_bytes(with_a_flipped_bit(whole, place, bit))
    update()
    assert pq.read_table(path).equals(pq.read_table("whole.parquet"))
    assert pq.read_table(path, page_checksum_verification=True).schema.metadata == pq.read_schema(path).metadata


@DAMAGE
@given(place=PLACES, bit=st.integers(0, 7))
def test_any_flipped_bit_from_above_is_an_error_or_harmless(project, place, bit):
    """No damaged value reaches a stage: the two ways of reading give the true row or a DataError."""
    path = Path("data/brightness/shard-00000.parquet")
    if not path.exists():
        update()
        shutil.copy(path, "whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    path.write_bytes(whole)
    folder = ShardFolder(path.parent)
    expected = folder.row(0, 1)
    path.write_bytes(with_a_flipped_bit(whole, place, bit))
    for read in (lambda: folder.row(0, 1), lambda: folder.rows(0, ["b"])["b"]):
        row, problem = expected, str(path)
        try:
            row = read()
        except DataError as error:
            problem = error.problem
        assert str(path) in problem
        assert all(np.array_equal(row[name], expected[name]) for name in expected)


def test_a_payload_that_was_swapped_is_found_by_its_digest(project):
    """Well-formed Parquet with another row's values: only the digest can tell."""
    update()
    path = Path("data/brightness/shard-00000.parquet")
    table = pq.read_table(path)
    swapped = table.set_column(6, table.schema.field(6), table.column("level").take([1, 0]))
    pq.write_table(swapped.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(DataError, match="the row b do not match its digest"):
        ShardFolder(path.parent).row(0, 1)
    with pytest.raises(DataError, match="the row a do not match its digest"):
        update(Outline)
