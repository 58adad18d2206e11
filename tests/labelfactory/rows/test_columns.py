"""Every kind of column: what goes into Parquet comes out."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import arrays, masks

from labelfactory.errors import ShapeError
from labelfactory.rows.columns import ArrayColumn, MaskColumn, NumberColumn, describe, from_description
from labelfactory.rows.header import shard_schema
from labelfactory.rows.shards import finish, rows_table

COLUMNS = {
    "half": ArrayColumn("float16"),
    "single": ArrayColumn("float32"),
    "ids": ArrayColumn("uint8"),
    "mask": MaskColumn(),
    "share": NumberColumn(),
    "count": NumberColumn("int64"),
}
ROWS = st.fixed_dictionaries(
    {
        "half": arrays("float16"),
        "single": arrays("float32"),
        "ids": arrays("uint8"),
        "mask": masks(255),
        "share": st.floats(width=32),
        "count": st.integers(-(2**63), 2**63 - 1),
    }
)


@settings(deadline=None)
@given(row=ROWS)
def test_what_is_saved_is_what_is_loaded(row):
    """Through Parquet bytes: dtype, shape and every bit, empty arrays, NaN and void included."""
    schema = shard_schema("x", COLUMNS, ["cat"])
    finished = finish("a", {"k": 1}, row, COLUMNS)
    sink = pa.BufferOutputStream()
    pq.write_table(rows_table([finished], schema), sink, compression="zstd")
    stored = pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist()[0]
    for name, column in COLUMNS.items():
        value = column.decode(stored[name])
        expected = np.asarray(row[name], dtype=column.dtype)
        assert (value.dtype, value.shape) == (expected.dtype, expected.shape)
        assert np.array_equal(value, expected, equal_nan=expected.dtype.kind == "f")
    assert finish("b", {"k": 2}, row, COLUMNS).digest == finished.digest


def test_an_array_that_was_read_can_be_written_to():
    """pydensecrf and torch refuse arrays that cannot."""
    column = ArrayColumn("float16")
    value = column.decode(column.encode(np.zeros((0, 2), np.float16), "a"))
    assert value.flags.writeable
    assert column.decode(column.encode(np.ones((2, 2), np.float16), "a")).flags.writeable


def test_views_are_stored_by_content():
    """A mirrored, transposed view is what it shows, not what lies in memory."""
    column, base = ArrayColumn("float32"), np.arange(6, dtype=np.float32).reshape(2, 3)
    view = base.T[::-1]
    assert np.array_equal(column.decode(column.encode(view, "a")), view)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (ArrayColumn("float16"), np.zeros(2, np.float32)),
        (ArrayColumn("uint8"), np.zeros(2, np.int64)),
        (MaskColumn(), np.zeros((2, 2), np.int64)),
        (MaskColumn(), np.zeros((2, 2, 1), np.uint8)),
    ],
)
def test_another_dtype_or_shape_is_a_bug_with_the_images_name(column, value):
    """Never cast in silence."""
    with pytest.raises(ShapeError, match="image_7"):
        column.encode(value, "image_7")


def test_numbers_are_rounded_before_they_are_digested():
    """float64 and its float32 give one digest; NaN is a number too."""
    columns = {"share": NumberColumn()}
    one, other = (finish("a", {}, {"share": v}, columns) for v in (0.1, np.float32(0.1)))
    assert one.digest == other.digest
    assert math.isnan(NumberColumn().decode(NumberColumn().encode(math.nan, "a")))


def test_a_shard_explains_its_columns():
    """The header holds enough to decode without the stage's code."""
    assert from_description(describe(COLUMNS)) == COLUMNS


def test_a_row_must_have_the_stages_columns():
    """None missing, none more."""
    columns = {"share": NumberColumn()}
    for row in ({}, {"share": 1, "more": 2}):
        with pytest.raises(KeyError, match="image_7"):
            finish("image_7", {}, row, columns)
