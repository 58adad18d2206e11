"""Shard files and random access to their rows. What the engine does with them is in test_per_image.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_mappings

from labelfactory.errors import DataError, MissingError
from labelfactory.rows.columns import ArrayColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ROW_GROUP, Sample, ShardFolder, finish, quarantine, row_key, rows_table

COLUMNS = {"x": ArrayColumn("float32")}
SCHEMA = shard_schema("s", COLUMNS, ["cat"])


def value(k: int) -> np.ndarray:
    return np.full((2, k % 3), k, np.float32)


@pytest.fixture
def folder(tmp_path):
    """Shards 0 and 7; every fifth row is quarantined; more rows than fit into one row group."""
    made = ShardFolder(tmp_path)
    for shard, count in ((0, ROW_GROUP * 2 + 3), (7, 4)):
        rows = [
            quarantine(f"{shard}-{k}", {"k": k}, "bad", COLUMNS)
            if k % 5 == 4
            else finish(f"{shard}-{k}", {"k": k}, {"x": value(k)}, COLUMNS)
            for k in range(count)
        ]
        made.write(shard, rows_table(rows, SCHEMA))
    return made


@given(inputs=json_mappings, data=st.data())
def test_a_rows_key_does_not_see_the_order_of_its_inputs(inputs, data):
    """Names decide."""
    shuffled = dict(data.draw(st.permutations(list(inputs.items()))))
    assert row_key(shuffled) == row_key(inputs)
    assert row_key({**inputs, "one more": 1}) != row_key(inputs)


def test_every_usable_row_is_found_by_its_image(folder):
    """In any row group of any shard; quarantined ones are not there."""
    reader = RowReader(folder.folder)
    assert len(reader.states) == sum(k % 5 != 4 for k in (*range(ROW_GROUP * 2 + 3), *range(4)))
    for image_id in reader.states:
        assert np.array_equal(reader[image_id]["x"], value(int(image_id.split("-")[1])))
    for missing in ("0-4", "9-9"):
        assert missing not in reader
        with pytest.raises(DataError, match=f"no usable row for the image {missing}"):
            reader[missing]


def test_one_column_is_read_without_the_rest(folder, monkeypatch):
    """Decoded, of usable rows alone; no row is opened whole, and no digest is computed."""
    reader = RowReader(folder.folder)
    monkeypatch.setattr(ShardFolder, "row", lambda *_: pytest.fail("a whole row was read"))
    column = reader.values("x")
    assert column.keys() == reader.states.keys()
    assert all(np.array_equal(x, value(int(image_id.split("-")[1]))) for image_id, x in column.items())
    assert reader.values("key") == {image_id: state.key for image_id, state in reader.states.items()}


def test_states_are_read_without_payloads(folder):
    """Id, key, digest, status and reason, in order."""
    states = folder.states(7)
    assert list(states) == [f"7-{k}" for k in range(4)]
    assert states["7-1"].key == row_key({"k": 1})
    assert (folder.states(0)["0-4"].status, folder.states(0)["0-4"].reason) == ("quarantined", "bad")
    assert folder.shards() == [0, 7]
    assert len(folder.all_states()) == ROW_GROUP * 2 + 7


def test_a_shard_that_is_not_there(tmp_path):
    """Empty for the engine, an error with a remedy for whoever needs it."""
    folder = ShardFolder(tmp_path)
    assert (folder.states(3), folder.rows(3, []), folder.table(3)) == ({}, {}, None)
    with pytest.raises(MissingError, match="holds no shards"):
        folder.all_states()


def test_the_same_rows_give_the_same_bytes(folder):
    """Whether they come from a stage or from a shard."""
    before = folder.path(0).read_bytes()
    table = folder.table(0)
    folder.write(0, table.take(list(range(len(table)))))
    assert folder.path(0).read_bytes() == before


def test_a_file_that_goes_under_a_reader_is_an_error_of_the_data(folder):
    """Not a traceback of pyarrow."""
    reader = RowReader(folder.folder)
    folder.path(7).write_bytes(b"PAR1 gone")
    with pytest.raises(DataError, match=r"shard-00007\.parquet: damaged"):
        reader["7-1"]


def test_a_sample_gives_the_row_of_the_output_that_is_named():
    """Two outputs may have columns of one name; a noun that the stage does not read is an error that says which it does."""
    sample = Sample(None, {"cams": {"class_ids": 1}, "walks": {"class_ids": 2}})  # type: ignore[arg-type]
    assert (sample.of("cams")["class_ids"], sample.of("walks")["class_ids"]) == (1, 2)
    with pytest.raises(KeyError, match="does not read rows of 'masks'; known: cams, walks"):
        sample.of("masks")
