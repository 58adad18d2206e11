"""Cells of Parquet, Hugging Face and JSON tables that are not what their column promises: dates, numbers, lists of anything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelfactory.errors import DataError
from sources._batch import Batch
from sources._hf_piece import Piece
from sources._import_plan import ImportOptions, plan_import
from sources._row_limit import MOST_ROWS
from sources._table_columns import ColumnNames
from sources.hf import find_hf
from sources.table import TableForm, find_table

NAMES = [f"{k}.png" for k in range(4)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(NAMES):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(name)
    return tmp_path


def filled(kind: pa.DataType, value: int) -> pa.Array:
    """Four cells of a type, from the number that is stored."""
    width = np.int32 if kind.bit_width == 32 else np.int64
    return pa.Array.from_buffers(kind, 4, [None, pa.py_buffer(np.full(4, value, width).tobytes())])


UNREADABLE = {
    "a date": lambda: filled(pa.date32(), 2**31 - 1),
    "a time": lambda: filled(pa.timestamp("ms"), 2**62),
    "a zone": lambda: filled(pa.timestamp("us", tz="Nowhere/Land"), 10**15),
    "a span": lambda: filled(pa.duration("ms"), 2**62),
}
"""Columns that Parquet and Arrow can hold and Python cannot."""


def table(**columns: Any) -> Batch:
    pq.write_table(pa.table({"path": NAMES, "tags": ["cat"] * 4} | columns), "t.parquet")
    return find_table(Path("t.parquet"))


def hf(metadata: bytes = b"", **columns: Any) -> Batch:
    images = [{"bytes": Path(name).read_bytes(), "path": None} for name in NAMES]
    listed = pa.table({"image": images, "label": ["cat"] * 4} | columns)
    listed = listed.replace_schema_metadata({"huggingface": metadata} if metadata else None)
    Path("d").mkdir(exist_ok=True)
    pq.write_table(listed, "d/train.parquet")
    return find_hf(Path("d"))


SOURCES: dict[str, Callable[..., Batch]] = {"table": table, "hf": hf}


@pytest.mark.parametrize("case", list(UNREADABLE))
@pytest.mark.parametrize("source", list(SOURCES))
def test_a_column_that_is_not_needed_may_hold_anything(here, source, case):
    """It is not read."""
    batch = SOURCES[source](when=UNREADABLE[case]())
    assert len(plan_import(batch, ImportOptions(val_fraction=0.5)).manifest.entries) == 4


@pytest.mark.parametrize("case", list(UNREADABLE))
@pytest.mark.parametrize(("source", "column"), [("table", "id"), ("table", "split"), ("hf", "id"), ("hf", "lists")])
def test_a_column_that_python_cannot_hold_is_named(here, source, column, case):
    """With its file and its type."""
    with pytest.raises(DataError, match=rf"parquet: the column '{column}' of type .* cannot be read"):
        SOURCES[source](**{column: UNREADABLE[case]()})


def test_only_the_chosen_columns_are_read(here):
    """Not other columns of usual names, nor those of a nested name that begins the same way."""
    bad = UNREADABLE["a date"]()
    pq.write_table(
        pa.table({"path": NAMES, "tags": ["cat"] * 4, "labels": bad, "file": bad, "path.x": bad}), "t.parquet"
    )
    assert len(find_table(Path("t.parquet")).candidates) == 4
    with pytest.raises(DataError, match="the column 'labels'"):
        find_table(Path("t.parquet"), form=TableForm(ColumnNames(tags="labels")))


def test_two_columns_of_one_name_are_a_problem(here):
    """As in CSV; one of them would be ignored."""
    arrays = [pa.array(NAMES), pa.array(["cat"] * 4), pa.array(["dog"] * 4)]
    pq.write_table(pa.table(arrays, names=["path", "tags", "tags"]), "t.parquet")
    assert find_table(Path("t.parquet")).problems == ("t.parquet: two columns have the same name",)
    Path("d").mkdir()
    pq.write_table(
        pa.table([pa.array([{"bytes": b"", "path": ""}] * 4), *arrays[1:]], names=["image", "tags", "tags"]),
        "d/t.parquet",
    )
    with pytest.raises(DataError, match="two columns have the same name"):
        find_hf(Path("d"))


def ids_of(source: str, ids: list[Any]) -> Batch:
    if source == "jsonl":
        rows = [{"path": name, "tags": "cat", "id": cell} for name, cell in zip(NAMES, ids, strict=False)]
        Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return find_table(Path("t.jsonl"))
    return SOURCES[source](id=ids)


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        *(("jsonl", bad) for bad in (False, True, 1.5, {"a": [1]}, ["a"])),
        *((source, bad) for source in ("table", "hf") for bad in (False, 1.5, {"a": [1]}, ["a"], b"a")),
    ],
)
def test_an_id_is_a_text_or_a_whole_number(here, source, bad):
    """Anything else costs its row, and neither becomes the text of a value of Python nor the path."""
    ids = [bad, "b", "c", "d"] if source == "jsonl" else [bad, None, None, None]
    batch = ids_of(source, ids)
    assert len(batch.candidates) == 3
    assert len(batch.left_out) == 1
    assert "row 1: " in batch.left_out[0].line
    assert "a text or a whole number" in batch.left_out[0].line


@pytest.mark.parametrize("source", ["jsonl", "table", "hf"])
def test_zero_is_an_id(here, source):
    """An empty cell is not one."""
    batch = ids_of(source, [0, 1, None, None])
    usual = ["2", "3"] if source != "hf" else ["train-000002", "train-000003"]
    assert [c.image_id for c in batch.candidates] == ["0", "1", *usual]


def test_a_text_is_one_list_of_a_dataset(here):
    """Not the list of its letters. An empty cell leaves the split."""
    batch = hf(lists=["val", "train", "", None])
    assert [c.lists for c in batch.candidates] == [("val",), ("train",), ("train",), ("train",)]


@pytest.mark.parametrize("bad", [0, 7, [1], [None], [["train"]], {"a": 1}, False, b"val"])
def test_lists_of_anything_else_cost_their_row(here, bad):
    """In a dataset as in a table."""
    batch = hf(lists=[bad, None, None, None])
    assert [item.line.partition(":")[0] for item in batch.left_out] == ["train.parquet, row 1"]
    assert len(batch.candidates) == 3
    batch = table(lists=[bad, None, None, None])
    assert [item.line.partition(":")[0] for item in batch.left_out] == ["t.parquet, row 1"]
    assert len(batch.candidates) == 3


def stated(feature: Any) -> bytes:
    return json.dumps({"info": {"features": {"label": feature}}}).encode()


@pytest.mark.parametrize("names", [["a", 1], "ab", {"a": 1}, [["a"]], [None]])
def test_names_of_a_class_label_are_texts(here, names):
    """Others would be classes called 1 or None, or one for each letter."""
    with pytest.raises(DataError, match=r"train\.parquet: the names of the ClassLabel 'label' are not texts"):
        hf(stated({"_type": "ClassLabel", "names": names}), label=[0, 1, 0, 1])


@pytest.mark.parametrize(
    "metadata",
    [
        b"[" * 100_000,
        b'{"info": {"features": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"info": {"features": []}}',
        b'{"info": {"features": null}}',
        b'{"info": {"features": {"label": []}}}',
        b'{"info": {"features": {"label": {"names": null}}}}',
        b"\xff",
    ],
)
def test_a_header_of_another_form_is_no_header(here, metadata):
    """The columns' types decide."""
    assert len(hf(metadata).candidates) == 4


@pytest.mark.parametrize("cell", [[True], [None], [[0]], [1.0], {"a": 0}])
def test_a_class_is_a_number_of_the_label(here, cell):
    """`true` is not the class 1."""
    batch = hf(stated({"_type": "ClassLabel", "names": ["cat", "dog"]}), label=[cell, None, None, None])
    assert len(batch.left_out) == 1
    assert "its tags are not" in batch.left_out[0].line


@pytest.mark.parametrize(
    "images",
    [
        [{"bytes": 7, "path": None}] * 4,
        [{"bytes": None, "path": 7}] * 4,
        [{"bytes": None, "path": "a\0b"}] * 4,
        ["0.png"] * 4,
    ],
)
def test_an_image_of_another_type_costs_its_row(here, images):
    """Whatever the header calls it."""
    header = json.dumps({"info": {"features": {"image": {"_type": "Image"}}}}).encode()
    batch = hf(header, image=images)
    with pytest.raises(DataError, match=r"4 times: .*(there is no image in this row|is outside of)"):
        plan_import(batch, ImportOptions(val_fraction=0.5))


@pytest.mark.parametrize(
    "url",
    ["http://[::1/x", "http://[x]/a.png", "http://h:99999/a.png", "http://h:x/a.png", "http://h/\ud800.png", "http://"],
)
def test_an_address_that_is_none_costs_its_row(here, url):
    """It does not stop the others."""
    rows = [{"path": NAMES[0], "tags": "cat"}, {"path": url, "tags": "cat"}]
    Path("t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plan = plan_import(find_table(Path("t.jsonl")), ImportOptions(val_fraction=0.5, max_bad_fraction=0.5))
    assert [entry.image_id for entry in plan.manifest.entries] == ["0"]
    assert [item.where for item in plan.left_out] == ["t.jsonl, row 2"]


def test_empty_rows_of_a_parquet_table_are_none(here):
    """As in a CSV; rows beside them keep their numbers. A few kilobytes can hold millions of them."""
    paths = [None, *NAMES, None, None, "gone.png"]
    pq.write_table(pa.table({"path": paths, "tags": [None, *["cat"] * 4, None, None, "cat"]}), "t.parquet")
    batch = find_table(Path("t.parquet"))
    assert [c.image_id for c in batch.candidates] == ["0", "1", "2", "3", "gone"]
    assert "3 rows of t.parquet without path or tags are passed over" in batch.decisions
    pq.write_table(pa.table({"path": ["", *NAMES], "tags": ["", *["cat"] * 4]}), "t.parquet")
    assert len(find_table(Path("t.parquet")).candidates) == 4
    pq.write_table(pa.table({"path": [*NAMES, None, None], "tags": [*["cat"] * 5, None]}), "t.parquet")
    (left_out,) = find_table(Path("t.parquet")).left_out
    assert (left_out.where, left_out.reason) == ("t.parquet, row 5", "names no photograph")


def test_a_file_with_too_many_rows_is_refused_before_they_are_read(here):
    """They cost nothing in the file, and gigabytes in memory."""
    rows = pa.table({"path": pa.nulls(MOST_ROWS + 1, pa.string()), "tags": pa.nulls(MOST_ROWS + 1, pa.string())})
    pq.write_table(rows, "t.parquet")
    assert Path("t.parquet").stat().st_size < 2**16
    (problem,) = find_table(Path("t.parquet")).problems
    assert "16,777,217 rows are more than 16,777,216; split it" in problem
    with pytest.raises(DataError, match=r"t\.parquet: damaged: 16,777,217 rows are more than"):
        Piece(Path("t.parquet"), "").table(["path"])
    nothing = pa.table({"label": pa.nulls(MOST_ROWS + 1)})
    with pa.OSFile("t.arrow", "wb") as file, pa.ipc.new_stream(file, nothing.schema) as stream:
        stream.write_table(nothing)
    with pytest.raises(DataError, match=r"t\.arrow: damaged: 16,777,217 rows are more than"):
        Piece(Path("t.arrow"), "").table(["label"])
