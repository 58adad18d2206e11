"""Imports from folders of classes and from tables, and what every import can be asked."""

import dataclasses
import io
import json
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import Loopback, QuietHandler
from PIL import Image

from labelfactory.dataset.manifest import Manifest
from labelfactory.errors import DataError
from sources._batch import Batch
from sources._findings import text_rows
from sources._import_plan import ImportOptions, plan_import
from sources._table_columns import ColumnNames
from sources.folder import find_folder
from sources.table import TableForm, find_table

EASY = ImportOptions(val_fraction=0.5)


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (8, 6)) -> bytes:
    """A small file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format=kind)
    return stream.getvalue()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs of two classes in folders: photos/cat/0.png … photos/dog/3.png."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(picture(10 * k + number))
    return tmp_path


def tags_of(manifest: Manifest) -> dict[str, tuple[str, ...]]:
    return {e.image_id: e.tags for e in manifest.entries}


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    """The same rows as CSV, JSON lines or Parquet, by the suffix."""
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(f'"{v}"' for v in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_a_class(here):
    """Names of folders are tags; deeper files belong to the class; other files and hidden ones are passed over."""
    (here / "photos/cat/holiday").mkdir()
    (here / "photos/cat/holiday/été 1.jpg").write_bytes(picture(99, "JPEG"))
    (here / "photos/cat/notes.txt").write_text("no picture")
    (here / "photos/cat/.hidden.png").write_bytes(b"x")
    manifest = plan_import(find_folder(Path("photos")), EASY).manifest
    assert tags_of(manifest)["cat/holiday/été 1"] == ("cat",)
    assert len(manifest.entries) == 9
    assert manifest.classes.names == ("cat", "dog")
    assert {e.path for e in manifest.entries} >= {"photos/dog/3.png", "photos/cat/holiday/été 1.jpg"}
    assert {e.lists for e in manifest.entries} == {("train",), ("val",)}


def test_folders_of_lists_hold_folders_of_classes(here):
    """train/<class>, validation/<class>: the lists are train and val."""
    (here / "all").mkdir()
    for name in ("train", "validation"):
        for kind in ("cat", "dog"):
            (here / "all" / name / kind).mkdir(parents=True)
            (here / "all" / name / kind / "a.png").write_bytes(picture(hash((name, kind)) % 1000))
    manifest = plan_import(find_folder(Path("all")), ImportOptions()).manifest
    assert {(e.image_id, e.lists, e.tags) for e in manifest.entries} == {
        ("train/cat/a", ("train",), ("cat",)),
        ("train/dog/a", ("train",), ("dog",)),
        ("validation/cat/a", ("val",), ("cat",)),
        ("validation/dog/a", ("val",), ("dog",)),
    }


def test_folders_that_are_not_chosen_are_not_taken(here):
    """Not even as photographs without a tag."""
    manifest = plan_import(
        find_folder(Path("photos"), classes=["dog"]), dataclasses.replace(EASY, classes=("dog",))
    ).manifest
    assert tags_of(manifest) == {f"dog/{k}": ("dog",) for k in range(4)}


def test_no_folder_and_an_empty_one_are_said(here):
    """Each with what to do."""
    with pytest.raises(DataError, match="no such folder"):
        find_folder(Path("nothing"))
    with pytest.raises(DataError, match="contains no folder"):
        find_folder(Path("photos/cat"))
    (here / "photos/owl").mkdir()
    with pytest.raises(DataError, match="photos/owl: contains no photograph"):
        plan_import(find_folder(Path("photos")), EASY)


# --- tables -----------------------------------------------------------------------------------------------------------

ROWS = [
    {"file": "photos/cat/0.png", "labels": "cat|dog", "split": "train"},
    {"file": "photos/cat/1.png", "labels": "cat", "split": "train"},
    {"file": "photos/dog/0.png", "labels": "dog", "split": "val"},
    {"file": "photos/dog/1.png", "labels": "", "split": "val"},
]


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.json", "t.parquet"])
def test_tables_of_every_make_say_the_same(here, name):
    """Paths from the table's folder; tags as a list or apart by bars; lists from a column; ids from the paths."""
    rows = ROWS if name == "t.csv" else [{**row, "labels": str(row["labels"]).split("|")} for row in ROWS]
    manifest = plan_import(find_table(write_table(Path(name), rows)), ImportOptions()).manifest
    assert tags_of(manifest) == {
        "photos/cat/0": ("cat", "dog"),
        "photos/cat/1": ("cat",),
        "photos/dog/0": ("dog",),
        "photos/dog/1": (),
    }
    assert [e.lists for e in manifest.entries] == [("train",), ("train",), ("val",), ("val",)]


@pytest.mark.parametrize("cell", ["cat|dog", "cat;dog", "cat, dog", '["cat", "dog"]', " dog | cat | cat "])
def test_tags_stand_apart_in_several_ways(here, cell):
    """Bars, semicolons, commas, or JSON of a list."""
    table = write_table(Path("t.jsonl"), [{"path": "photos/cat/0.png", "tags": cell}])
    assert plan_import(find_table(table), EASY).manifest.entries[0].tags == ("cat", "dog")


def test_columns_root_and_list_can_be_named(here):
    """A table that knows nothing of us."""
    table = write_table(Path("t.jsonl"), [{"bild": "cat/0.png", "was": "cat", "nr": 7}])
    batch = find_table(table, root=Path("photos"), form=TableForm(ColumnNames("bild", "was", "nr")), list_name="val")
    entry = plan_import(batch, ImportOptions()).manifest.entries[0]
    assert (entry.image_id, entry.path, entry.lists) == ("7", "photos/cat/0.png", ("val",))


def test_urls_are_fetched_once(here):
    """Through fsspec, into data/raw; a second import does not ask again, and --dry-run keeps nothing."""
    with fsspec.open("memory://bucket/a.png", "wb") as stream:
        stream.write(picture(1))
    table = write_table(Path("t.jsonl"), [{"url": "memory://bucket/a.png", "tags": "cat"}])
    plan_import(find_table(table, keep=False), dataclasses.replace(EASY, dry_run=True))
    assert not (here / "data").exists()
    first = plan_import(find_table(table), EASY).manifest.entries[0]
    assert (here / first.path).read_bytes() == picture(1)
    assert first.image_id == "memory://bucket/a"
    fsspec.filesystem("memory").rm("/bucket/a.png")
    assert plan_import(find_table(table), EASY).manifest.entries[0] == first


def test_photographs_come_over_http(here):
    """By our own client: kept once, and a refusal is the row's reason."""

    class Handler(QuietHandler):
        def answer(self) -> None:
            self.send_response(200 if self.path == "/a.png" else 404)
            self.end_headers()
            self.wfile.write(picture(1))

    server = Loopback(Handler)
    rows = [{"url": f"{server.root}/{name}.png", "tags": "cat"} for name in "ab"]
    plan = plan_import(find_table(write_table(Path("t.jsonl"), rows)), dataclasses.replace(EASY, max_bad_fraction=0.5))
    server.close()
    assert (here / plan.manifest.entries[0].path).read_bytes() == picture(1)
    assert [item.reason for item in plan.left_out] == [f"{server.root}/b.png: not fetched: the server answers 404"]


# --- what every import can be asked -----------------------------------------------------------------------------------


def found(here: Path) -> Batch:
    return find_folder(Path("photos"))


def test_classes_can_have_other_names(here):
    """old=new renames, two of one name become one, old= drops the tag; a name that is not there is an error."""
    manifest = plan_import(found(here), dataclasses.replace(EASY, rename={"cat": "pet", "dog": "pet"})).manifest
    assert manifest.classes.names == ("pet",)
    assert {e.tags for e in manifest.entries} == {("pet",)}
    dropped = plan_import(found(here), dataclasses.replace(EASY, rename={"cat": ""})).manifest
    assert dropped.classes.names == ("dog",)
    assert tags_of(dropped)["cat/0"] == ()
    with pytest.raises(DataError, match="--rename: 'cta' is not a class of this source; did you mean `cat`"):
        plan_import(found(here), dataclasses.replace(EASY, rename={"cta": "x"}))


def test_append_moves_nothing(here):
    """Positions, splits and values stay; new photographs join, dealt so that the shares stay; twice changes nothing."""
    first = plan_import(found(here), EASY).manifest
    for number in range(4, 8):
        (here / f"photos/cat/{number}.png").write_bytes(picture(number + 50))
    more = dataclasses.replace(EASY, append=True)
    grown = plan_import(found(here), more, first).manifest
    assert grown.entries[: len(first.entries)] == first.entries
    assert sum(e.lists == ("val",) for e in grown.entries if e.tags == ("cat",)) == 4
    assert plan_import(found(here), more, grown).manifest == grown


def test_a_second_import_keeps_the_split(here):
    """Without --append too, as long as the share is the same; files that moved keep theirs, since bytes decide."""
    first = plan_import(found(here), EASY).manifest
    for number in range(4, 9):
        (here / f"photos/dog/{number}.png").write_bytes(picture(number + 70))
    (here / "photos/cat/0.png").rename(here / "photos/cat/moved.png")
    second = plan_import(found(here), EASY, first).manifest
    lists = {e.sha256: e.lists for e in second.entries}
    assert all(lists[e.sha256] == e.lists for e in first.entries)


@pytest.mark.parametrize(("first", "second"), [(0.25, 0.2), (0.2, 0.25), (0.5, 0.05), (0.1, 0.125)])
@pytest.mark.parametrize("masks", ["upright", "stored"])
def test_another_share_deals_anew(here, first, second, masks):
    """Whatever its digits begin with, and whatever else the source says."""
    Path("photos").rename("photos --val-fraction 0.2 --masks stored")
    folder = find_folder(Path("photos --val-fraction 0.2 --masks stored"))
    for tag in ("cat", "dog"):
        for number in range(4, 40):
            (folder.root / f"{tag}/{number}.png").write_bytes(picture(number + 100 * len(tag) + ord(tag[0])))
    folder = find_folder(folder.root)
    options = ImportOptions(val_fraction=first, masks=masks)
    old = plan_import(folder, options).manifest
    again = dataclasses.replace(options, val_fraction=second)
    assert plan_import(folder, again, old).manifest.entries == plan_import(folder, again).manifest.entries
    assert plan_import(folder, options, old).manifest == old


def test_the_same_bytes_are_reported_and_stay_together(here):
    """Two names of one photograph: said, and dealt to one list."""
    (here / "photos/dog/copy.png").write_bytes((here / "photos/dog/0.png").read_bytes())
    plan = plan_import(found(here), EASY)
    assert plan.twins == (("dog/0", "dog/copy"),)
    by_id = {e.image_id: e.lists for e in plan.manifest.entries}
    assert by_id["dog/0"] == by_id["dog/copy"]


def test_the_same_bytes_in_train_and_val_are_an_error(here):
    """Every such photograph is listed with its lists."""
    (here / "photos/copy.png").write_bytes((here / "photos/cat/0.png").read_bytes())
    rows = [*ROWS, {"file": "photos/copy.png", "labels": "cat", "split": "val"}]
    with pytest.raises(DataError, match="the lists 'train' and 'val' share 1 photographs") as caught:
        plan_import(find_table(write_table(Path("t.csv"), rows)), ImportOptions())
    assert "photos/cat/0.png (train), photos/copy.png (val)" in caught.value.problem


def test_a_few_bad_ones_are_left_out_with_row_file_and_reason(here):
    """Under the limit the others are taken; at the limit too; over it nothing is."""
    (here / "photos/cat/0.png").write_bytes(b"")
    plan = plan_import(found(here), dataclasses.replace(EASY, max_bad_fraction=1 / 8))
    assert [item.line for item in plan.left_out] == ["photos/cat/0.png: the file is empty"]
    assert len(plan.manifest.entries) == 7
    with pytest.raises(DataError, match=r"photos/cat/0\.png: the file is empty"):
        plan_import(found(here), dataclasses.replace(EASY, max_bad_fraction=0.124))


LINE_ENDS_OF_PYTHON = ("\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e")
"""Where `str.splitlines` ends a line and no table, editor or shell does."""


@pytest.mark.parametrize("character", LINE_ENDS_OF_PYTHON)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_a_line_end_ends_a_row(here, character, end):
    """A cell may hold any other character, and the numbers of the rows are those of an editor."""
    rows = ["path,tags,note", f"photos/cat/0.png,cat,a{character}b", "photos/dog/0.png,dog", "photos/dog/1.png,dog,c"]
    (here / "t.csv").write_bytes(end.join([*rows, ""]).encode())
    batch = find_table(here / "t.csv")
    assert [c.image_id for c in batch.candidates] == ["photos/cat/0", "photos/dog/1"]
    assert [item.line for item in batch.left_out] == ["t.csv, row 3: 2 cells, the header has 3"]
    (here / "list.txt").write_bytes(end.join([f"a{character}b", "", "c", ""]).encode())
    assert text_rows(here / "list.txt") == [f"a{character}b", "", "c"]


@pytest.mark.parametrize("character", [*LINE_ENDS_OF_PYTHON, "\x1b", "\x7f", "\x9b", "\t", "\u202e"])
def test_a_name_is_one_printable_line(here, character):
    """Ids, lists and classes go into terminals, tables and lists of names: one that would be two lines there is refused."""
    rows = [{"path": f"photos/cat/{k}.png", "tags": ["cat"], "split": ["train"], "id": f"i{k}"} for k in range(4)]
    rows[1]["id"] = f"a{character}b"
    rows[2]["split"] = [f"train{character}x"]
    rows[3]["split"] = ["../train"]
    batch = find_table(write_table(here / "t.jsonl", rows))
    plan = plan_import(batch, ImportOptions(max_bad_fraction=0.9))
    assert [e.image_id for e in plan.manifest.entries] == ["i0"]
    assert [item.reason.partition(" is not ")[2] for item in plan.left_out] == [
        "an image id: empty, too long or not printable", "the name of a list", "the name of a list"
    ]  # fmt: skip
    assert character not in "".join(item.reason for item in plan.left_out)
    rows = [{"path": "photos/cat/0.png", "tags": [f"a{character}b"]}, {"path": "photos/dog/0.png", "tags": ["dog"]}]
    batch = find_table(write_table(here / "t.jsonl", rows))
    with pytest.raises(DataError, match="is not the name of a class"):
        plan_import(batch, EASY)
    renamed = plan_import(batch, dataclasses.replace(EASY, rename={f"a{character}b": "cat"}))
    assert renamed.manifest.classes.names == ("cat", "dog")


@pytest.mark.parametrize("name", ["名前", "été 1", "Bildschirmfoto\u202f1", "a\u00a0b", "👩\u200d🌾", "x/y z"])
def test_other_names_stay(here, name):
    """Narrow blanks as in the names of screenshots, joined characters, any script."""
    batch = find_table(write_table(here / "t.jsonl", [{"path": "photos/cat/0.png", "tags": ["cat"], "id": name}]))
    assert plan_import(batch, EASY).manifest.entries[0].image_id == name


def test_no_token_of_an_address_becomes_an_image_id(here):
    """An id goes into every output, and with the import to every machine; the photograph is still fetched with the token."""
    urls = ["https://tok3n@h/a.jpg", "https://ann:pw@h/b.jpg?x=1.5", "https://h/c.jpg?sig=s3cret.x", "https://h/d?id=4"]
    batch = find_table(write_table(here / "t.jsonl", [{"path": url, "tags": ["cat"]} for url in urls]))
    ids = [c.image_id for c in batch.candidates]
    assert ids == ["https://***@h/a", "https://***@h/b.jpg?x=1", "https://h/c.jpg?sig=***", "https://h/d?id=4"]


@pytest.mark.parametrize("cell", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "[" + "1" * 5000 + "]"])
def test_a_deep_cell_is_no_list_of_tags(here, cell):
    """Nor is a number of five thousand digits; the other rows are read."""
    rows = [{"path": "photos/cat/0.png", "tags": cell}, {"path": "photos/dog/0.png", "tags": "dog"}]
    batch = find_table(write_table(here / "t.jsonl", rows))
    assert [c.image_id for c in batch.candidates] == ["photos/dog/0"]
    assert "is not a list of tags" in batch.left_out[0].line
