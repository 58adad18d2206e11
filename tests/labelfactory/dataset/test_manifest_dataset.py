"""The import's manifest and the prepared data set on disk."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_files import fifo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfactory.dataset.manifest import Entry, Manifest, lists_of, read_manifest, with_truth, write_manifest
from labelfactory.dataset.prepared import Chosen, Dataset, ImageRecord, ShardedDataset, read_dataset, write_dataset
from labelfactory.errors import DataError, MissingError
from labelfactory.schema import Classes

CLASSES = Classes(("cat", "dog"))
NAMES = st.text("abcxyz0-é", min_size=1, max_size=5)
DISK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

entries = st.builds(
    Entry,
    image_id=NAMES,
    path=NAMES,
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    lists=st.sets(NAMES, max_size=2).map(lambda s: tuple(sorted(s))),
    tags=st.sets(st.sampled_from(CLASSES.names)).map(lambda s: tuple(sorted(s))),
    mask_path=st.none() | NAMES,
    mask_sha256=st.none() | NAMES,
    width=st.integers(0, 5000),
    height=st.integers(0, 5000),
)
manifests = st.builds(
    Manifest,
    classes=st.just(CLASSES),
    mask_ids=st.dictionaries(st.integers(0, 255), st.integers(0, 2), max_size=3),
    source=NAMES,
    entries=st.lists(entries, max_size=4, unique_by=lambda e: e.image_id).map(tuple),
).map(Manifest.numbered)


def simple(*ids: str) -> Manifest:
    return Manifest(
        CLASSES, {0: 0, 1: 1}, "test", tuple(Entry(i, f"{i}.png", "0" * 64, (), ()) for i in ids)
    ).numbered()


@DISK
@given(manifest=manifests)
def test_a_manifest_comes_back_as_it_was(tmp_path, manifest):
    """And gives the same bytes each time."""
    write_manifest(manifest, tmp_path / "m.parquet")
    first = (tmp_path / "m.parquet").read_bytes()
    assert read_manifest(tmp_path / "m.parquet") == manifest
    write_manifest(read_manifest(tmp_path / "m.parquet"), tmp_path / "m.parquet")
    assert (tmp_path / "m.parquet").read_bytes() == first


def test_an_older_manifest_is_read_as_one_that_was_not_measured(tmp_path):
    """Format 1 had no width and no height; all else is as it was."""
    path = tmp_path / "m.parquet"
    manifest = simple("a", "b")
    measured = tuple(dataclasses.replace(e, width=7, height=5) for e in manifest.entries)
    write_manifest(dataclasses.replace(manifest, entries=measured), path)
    table = pq.read_table(path)
    head = json.loads(table.schema.metadata[b"labelfactory"])
    assert head["format"] == 2
    old = table.drop(["width", "height"]).replace_schema_metadata({"labelfactory": json.dumps(head | {"format": 1})})
    pq.write_table(old, path)
    assert read_manifest(path) == manifest


def test_positions_are_given_once():
    """New entries come after the last; a gap stays."""
    assert [e.position for e in simple("a", "b").entries] == [0, 1]
    left = dataclasses.replace(simple("a", "b", "c"), entries=simple("a", "b", "c").entries[::2])
    grown = left.appended(simple("x", "a", "y"))
    assert {e.image_id: e.position for e in grown.entries} == {"a": 0, "c": 2, "x": 3, "y": 4}


@given(old=manifests, new=manifests)
def test_appending_moves_nothing(old, new):
    """What is here keeps place and values; every new image is joined once; twice changes nothing."""
    new = dataclasses.replace(new, mask_ids=old.mask_ids)
    grown = old.appended(new)
    assert grown.entries[: len(old.entries)] == old.entries
    assert {e.image_id for e in grown.entries} == {e.image_id for e in (*old.entries, *new.entries)}
    assert len({e.position for e in grown.entries}) == len(grown.entries)
    assert grown.appended(new) == grown


VALUES = {0: 0, 5: 1, 9: 2}
"""Value in the true masks → class id of cat and dog."""


@pytest.mark.parametrize(
    ("classes", "mask_ids", "joined"),
    [
        ("cat dog", VALUES, True),
        ("cat dog owl", VALUES | {7: 3}, True),  # 7 was void
        ("cat dog owl", VALUES, True),  # its masks do not show the new class
        ("cat owl", VALUES, False),
        ("dog cat", VALUES, False),
        ("owl cat dog", {0: 0, 7: 1, 5: 2, 9: 3}, False),  # class ids of old masks would move
        ("cat dog", VALUES | {5: 2, 9: 1}, False),
        ("cat dog", {0: 0, 5: 1}, False),
        ("cat dog", VALUES | {3: 1}, False),  # 3 is void in the masks that are here
        ("cat dog owl", VALUES | {7: 2}, False),
    ],
)
def test_imports_are_joined_if_masks_keep_their_meaning(classes, mask_ids, joined):
    """Classes may follow at the end, with values that were void; nothing else of what is here changes."""
    here = dataclasses.replace(simple("a"), classes=Classes(("cat", "dog")), mask_ids=VALUES)
    new = dataclasses.replace(simple("b"), classes=Classes(tuple(classes.split())), mask_ids=mask_ids)
    if not joined:
        with pytest.raises(DataError):
            here.appended(new)
        return
    both = here.appended(new)
    assert (both.classes, both.mask_ids, both.entries[:1]) == (new.classes, new.mask_ids, here.entries)


def test_a_missing_manifest_and_a_newer_one_say_what_to_type(tmp_path):
    """Both can be mended by the user."""
    path = tmp_path / "m.parquet"
    with pytest.raises(MissingError, match="nothing was imported") as caught:
        read_manifest(path)
    assert "labelfactory import" in caught.value.remedy
    write_manifest(simple("a"), path)
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"labelfactory"]) | {"format": 99}
    pq.write_table(table.replace_schema_metadata({"labelfactory": json.dumps(meta)}), path)
    with pytest.raises(DataError, match="format 99 is newer"):
        read_manifest(path)


records = st.builds(
    lambda entry, size, split, bad: ImageRecord(
        **dataclasses.asdict(entry) | {"width": size, "height": size + 1},
        split=split,
        shard=0,
        status="quarantined" if bad else "ok",
        reason=bad,
    ),
    entries,
    st.integers(0, 5000),
    st.sampled_from(["train", "score", "rest"]),
    st.sampled_from(["", "not an image"]),
)


def dataset_of(*found: ImageRecord) -> Dataset:
    return Dataset(CLASSES, {0: 0, 8: 1}, "train", "val", 0.25, found)


@DISK
@given(found=st.lists(records, max_size=4))
def test_a_data_set_comes_back_as_it_was(tmp_path, found):
    """And gives the same bytes each time."""
    dataset = dataset_of(*found)
    write_dataset(dataset, tmp_path / "d.parquet")
    first = (tmp_path / "d.parquet").read_bytes()
    assert read_dataset(tmp_path / "d.parquet") == dataset
    write_dataset(dataset, tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").read_bytes() == first


def test_a_missing_data_set_says_what_to_type(tmp_path):
    """`prepare` has not run."""
    with pytest.raises(MissingError, match="not prepared") as caught:
        read_dataset(tmp_path / "d.parquet")
    assert "dvc repro prepare" in caught.value.remedy


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"PAR1" + b[::-1]])
@pytest.mark.parametrize("read", [read_manifest, read_dataset])
def test_a_damaged_table_is_named_with_its_remedy(tmp_path, read, damage):
    """Empty, cut short, or turned round: no error of the library's own."""
    path = tmp_path / "table.parquet"
    write_manifest(simple("a", "b"), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"table\.parquet: is damaged") as caught:
        read(path)
    assert caught.value.remedy


def test_a_table_of_somebody_elses_is_refused(tmp_path):
    """Parquet, but without our head."""
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"image_id": ["a"]}), path)
    with pytest.raises(DataError, match="not a table of labelfactory"):
        read_manifest(path)


def rewritten(path: Path, change: Callable[[pa.Table], pa.Table], **head: object) -> None:
    """The table with other columns or another header, as another program would write it."""
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"labelfactory"]) | head
    pq.write_table(change(table).replace_schema_metadata({"labelfactory": json.dumps(meta)}), path)


def with_column(name: str, values: list[object], kind: pa.DataType | None = None) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        column = pa.array(values, kind or table.schema.field(name).type)
        return table.set_column(table.column_names.index(name), name, column)

    return change


def same(table: pa.Table) -> pa.Table:
    return table


GARBAGE: dict[str, tuple[Callable[[pa.Table], pa.Table], dict[str, object], str]] = {
    "a column less": (lambda t: t.drop(["sha256"]), {}, "has the columns image_id, path, lists"),
    "a column more": (lambda t: t.append_column("x", pa.array([1, 2])), {}, "has the columns .*, x, not "),
    "no columns": (lambda t: t.select([]), {}, "has the columns , not "),
    "a number as path": (with_column("path", [1, 2], pa.int64()), {}, "the column path is of int64, not string"),
    "a text as tags": (with_column("tags", ["a", "b"], pa.string()), {}, "the column tags is of string, not list"),
    "a text as position": (with_column("position", ["a", "b"], pa.string()), {}, "the column position is of string"),
    "no id": (with_column("image_id", [None, "b"]), {}, "the column image_id has empty cells"),
    "no tag": (with_column("tags", [[None], []]), {}, "the column tags has empty values in its lists"),
    "no classes": (same, {"classes": None}, "its header has no usable classes"),
    "classes that are numbers": (same, {"classes": [1, 2]}, "a class in its header is not a name"),
    "classes that are a text": (same, {"classes": "cat"}, "its header has no usable classes"),
    "an empty list of classes": (same, {"classes": []}, "the data set has no class"),
    "mask_ids that are a list": (same, {"mask_ids": [1]}, "its header has no usable mask_ids"),
    "mask_ids that are words": (same, {"mask_ids": {"a": 1}}, "the mask_ids in its header are not numbers"),
    "mask_ids beyond a byte": (same, {"mask_ids": {"300": 1}}, "the mask_ids in its header are not numbers"),
    "a format that is a word": (same, {"format": "two"}, "format 'two' is not a format"),
}


@pytest.mark.parametrize("case", list(GARBAGE))
@pytest.mark.parametrize("kind", ["manifest", "data set"])
def test_a_table_of_another_form_is_an_error_of_two_lines(tmp_path, kind, case):
    """Columns, types, empty cells and header: never an error of Python's own, in each way to read it."""
    path = tmp_path / "table.parquet"
    if kind == "manifest":
        write_manifest(simple("a", "b"), path)
        readers: list[Callable[[Path], object]] = [read_manifest]
    else:
        entry = dataclasses.asdict(simple("a").entries[0])
        record = ImageRecord(**entry, split="train", shard=0, status="ok", reason="")
        write_dataset(dataset_of(record, dataclasses.replace(record, image_id="b")), path)
        readers = [read_dataset, lambda path: ShardedDataset(path).records(0)]
    change, head, message = GARBAGE[case]
    rewritten(path, change, **head)
    for read in readers:
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert "table.parquet" in caught.value.problem or "class" in caught.value.problem
        assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "head", "message"),
    [
        (with_column("position", [-1, 0]), {}, "a position is not between 0 and"),
        (with_column("position", [0, 2**40]), {}, "a position is not between 0 and"),
        (with_column("width", [-5, 0]), {}, "a width is not between 0 and"),
        (same, {"source": 7}, "its header has no usable source"),
    ],
)
def test_numbers_of_a_manifest_are_in_range(tmp_path, change, head, message):
    """A shard's number follows from the position."""
    write_manifest(simple("a", "b"), tmp_path / "m.parquet")
    rewritten(tmp_path / "m.parquet", change, **head)
    with pytest.raises(DataError, match=message):
        read_manifest(tmp_path / "m.parquet")


@pytest.mark.parametrize(
    "head",
    [{"shard_size": 0}, {"shard_size": "x"}, {"max_bad_fraction": "x"}, {"train_list": None}, {"compression": 1}],
)
def test_the_head_of_a_data_set_is_checked(tmp_path, head):
    """Both ways to read it."""
    path = tmp_path / "d.parquet"
    write_dataset(dataset_of(), path)
    rewritten(path, same, **head)
    for read in (read_dataset, ShardedDataset):
        with pytest.raises(DataError, match=f"its header has no usable {next(iter(head))}"):
            read(path)


def test_single_columns_of_a_manifest_are_checked_too(tmp_path):
    """What is asked before a run reads them alone."""
    path = tmp_path / "m.parquet"
    for change in (lambda t: t.drop(["lists"]), with_column("lists", [1, 2], pa.int64())):
        write_manifest(simple("a", "b"), path)
        rewritten(path, change)
        for read in (lists_of, lambda path: with_truth("train", path)):
            with pytest.raises(DataError, match=r"m\.parquet: "):
                read(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("read", [read_manifest, read_dataset, ShardedDataset, lists_of])
def test_a_table_that_is_no_file_is_refused(tmp_path, read):
    """A pipe would be waited for."""
    fifo(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t\.parquet: is not a regular file"):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize("lists", [(), ("train",), ("val", "more"), ("absent",)])
@pytest.mark.parametrize("scored", [(), ("val",), ("train", "val")])
def test_a_stage_may_choose_its_photographs(workspace, lists, scored):
    """All of some lists, those of others with a true mask, unusable ones never; in their shards and in order."""
    for image_id, own, mask in (("a", ("val",), "m.png"), ("b", ("val", "train"), None), ("c", ("more",), "m.png")):
        workspace.change(image_id, lists=own, mask_path=mask, split="score")
    workspace.change("d", status="quarantined", reason="broken", mask_path="m.png")
    chosen = Chosen(lists, scored)
    wanted = [
        r for r in workspace.dataset().usable if {*r.lists} & {*lists} or (r.mask_path and {*r.lists} & {*scored})
    ]
    sharded = ShardedDataset(chosen=chosen)
    assert [record for shard in sharded.counts for record in sharded.records(shard)] == wanted
    assert sharded.counts == {shard: len(sharded.records(shard)) for shard in sorted({r.shard for r in wanted})}
    assert sharded.total == len(wanted)


def test_who_goes_through_the_line(workspace):
    """Usable photographs of the training list; quarantined ones are in no list."""
    workspace.change("b", status="quarantined", reason="not an image")
    workspace.change("c", split="score", lists=("val",))
    dataset = read_dataset(Path("data/dataset/images.parquet"))
    assert [r.image_id for r in dataset.usable] == list("acde")
    assert [r.image_id for r in dataset.training] == list("ade")
    assert [r.image_id for r in dataset.on_list("val")] == ["c"]
    with pytest.raises(DataError, match="'tset'") as caught:
        dataset.on_list("tset")
    assert "train, val" in caught.value.remedy


def test_an_images_digest_is_over_bytes_and_tags(workspace):
    """Not over its path, lists, masks or place."""
    record = workspace.records[0]
    for changes in ({"path": "x"}, {"lists": ()}, {"mask_path": "m"}, {"position": 9, "shard": 4}, {"split": "score"}):
        assert dataclasses.replace(record, **changes).digest == record.digest
    for changes in ({"sha256": "1" * 64}, {"tags": ("dog",)}, {"tags": ()}):
        assert dataclasses.replace(record, **changes).digest != record.digest
