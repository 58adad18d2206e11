"""Rows that belong to what the data set has now, and those of an import before."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfactory.errors import DataError
from labelfactory.rows.columns import MaskColumn
from labelfactory.rows.header import shard_schema
from labelfactory.rows.pairing import CLASSES, PHOTOGRAPH, TAGS, made_of, renumbered
from labelfactory.rows.reader import RowReader
from labelfactory.rows.shards import ShardFolder, finish, rows_table
from labelfactory.schema import VOID

COLUMNS = {"mask": MaskColumn()}


def write(workspace, value: int = 1) -> RowReader:
    """Rows of the workspace as it stands, in its first shard; gives a reader that knows the data set."""
    folder = ShardFolder(workspace.root / "data/masks")
    folder.folder.mkdir(exist_ok=True)
    rows = [
        finish(
            record.image_id,
            {"image": record.sha256, "classes": list(workspace.classes)},
            {"mask": np.full((5, 6), value, np.uint8)},
            COLUMNS,
        )
        for record in workspace.records
        if record.shard == 0
    ]
    folder.write(0, rows_table(rows, shard_schema("refine_crf", COLUMNS, workspace.classes)))
    return RowReader(folder.folder, workspace.dataset())


def test_a_row_belongs_to_the_photograph_that_it_was_made_of(workspace):
    """Other bytes under the same id: the row is an earlier one, and a reader without a data set, as in a stage, has both."""
    write(workspace)
    workspace.repaint("b", seed=99)
    reader = RowReader(workspace.root / "data/masks", workspace.dataset())
    assert (list(reader.states), list(reader.earlier)) == (["a"], ["b"])
    assert "b" not in reader
    with pytest.raises(DataError, match="no usable row for the image b"):
        reader["b"]
    assert reader.earlier_row("b")["mask"].all()
    assert set(RowReader(workspace.root / "data/masks").states) == {"a", "b"}


@pytest.mark.parametrize("now", [("dog", "cat"), ("cat",), ("cat", "dog", "fox")])
def test_a_row_belongs_to_the_classes_that_number_its_pixels(workspace, now):
    """Another order, one less, one more: a stage makes the row anew, and until then it is none of the data set."""
    write(workspace)
    workspace.classes = now
    reader = RowReader(workspace.root / "data/masks", workspace.dataset())
    assert (list(reader.states), list(reader.earlier)) == ([], ["a", "b"])
    assert reader.made_of["a"].differs(workspace.records[0], now) == CLASSES


def test_a_row_that_a_run_replaces_is_not_read_under_the_state_of_before(workspace):
    """What reads for a person does so beside a run."""
    reader = write(workspace)
    write(workspace, value=2)
    with pytest.raises(DataError, match="a: its row in data/masks was replaced meanwhile"):
        reader["a"]


def test_what_a_row_says(workspace):
    """A row without classes depends on none; one that names no photograph belongs to none."""
    record = workspace.records[0]
    prior = made_of(json.dumps({"image": record.sha256, "correction": "c"}))
    assert (prior.differs(record, ("x",)), prior.correction) == ("", "c")
    assert prior.differs(dataclasses.replace(record, sha256="other"), ("x",)) == PHOTOGRAPH
    tagged = made_of(json.dumps({"image": record.sha256, "tags": [*record.tags, "fox"]}))
    assert tagged.differs(record, ("x",)) == TAGS
    assert tagged.differs(dataclasses.replace(record, tags=(*record.tags, "fox")), ("x",)) == ""
    assert made_of("{}").differs(record, ()) == PHOTOGRAPH
    for damaged in ("[]", "no JSON", '{"classes": 1}'):
        with pytest.raises(ValueError, match="its inputs are not readable"):
            made_of(damaged)


@given(st.permutations(["cat", "dog", "fox"]), st.integers(0, 3))
def test_pixels_keep_the_name_of_their_class(now, gone):
    """There and back is the identity, but for classes that are gone, which are void."""
    before = ("cat", "dog", "fox")
    mask = np.array([[0, 1, 2, 3, VOID]], np.uint8)
    kept = now[gone:]
    moved = renumbered(mask, before, kept)
    names = ["background", *kept]
    for old, new in zip(mask[0], moved[0], strict=True):
        name = {0: "background", VOID: "void"}.get(int(old)) or before[old - 1]
        assert (names[new] if new != VOID else "void") == (name if name in names else "void")
    if len(kept) == len(before):
        assert np.array_equal(renumbered(moved, kept, before), mask)
