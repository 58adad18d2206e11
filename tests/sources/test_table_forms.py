"""Tables as other programs write them: pandas, Excel, Roboflow, AutoML, Open Images, Label Studio, fastai, Kaggle."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelfactory.errors import DataError, UserError
from labelfactory.typed_names import split_names
from sources._batch import Batch
from sources._import_plan import ImportOptions, plan_import
from sources._table_columns import ColumnNames
from sources._tag_cells import NotTagsError, tags_in
from sources.table import TableForm, find_table

EASY = ImportOptions(val_fraction=0.5)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photographs 0.jpg to 4.jpg, and two in folders."""
    monkeypatch.chdir(tmp_path)
    for k, name in enumerate([*(f"{k}.jpg" for k in range(5)), "train/a.jpg", "images/b c.jpg"]):
        Path(name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name, "PNG")
    return tmp_path


def table(content: str | bytes | list[dict[str, object]], name: str = "", **form: object) -> Batch:
    """A table of text, bytes or rows; `form` is that of the table."""
    rows = isinstance(content, list)
    path = Path(name or ("t.jsonl" if rows else "t.csv"))
    text = "\n".join(map(json.dumps, content)) if rows else content
    path.write_bytes(text if isinstance(text, bytes) else str(text).encode())
    return find_table(path, form=TableForm(**form))


def tags(batch: Batch) -> dict[str, tuple[str, ...]]:
    """Of each image, as the import has them; nothing is left out."""
    plan = plan_import(batch, ImportOptions())
    return {e.image_id: e.tags for e in plan.manifest.entries}


BOXES = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def test_a_row_for_each_object_joins_its_tags():
    """TensorFlow's and Roboflow's CSV: several rows a photograph, and empty cells of a negative. It is said."""
    rows = [
        "0.jpg,8,8,cat,1,1,2,2",
        "1.jpg,8,8,dog,1,1,2,2",
        "0.jpg,8,8,dog,3,3,4,4",
        "2.jpg,8,8,,,,,",
        "0.jpg,8,8,cat,5,5,6,6",
    ]
    batch = table(BOXES + "\n".join(rows) + "\n")
    assert tags(batch) == {"0": ("cat", "dog"), "1": ("dog",), "2": ()}
    assert batch.decisions == ("1 photographs are in several rows: the tags of their rows are joined",)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["7,0.jpg,cat", "8,0.jpg,dog"],
            "0.jpg: has two ids: '7' (t.csv, row 2) and '8'; --id-column path takes the path instead",
        ),
        (["7,0.jpg,cat", "7,1.jpg,dog"], "'0.jpg' (t.csv, row 2) and '1.jpg' have the same id '7'; --id-column path"),
    ],
)
def test_ids_that_conflict_are_refused_with_a_remedy_that_works(rows, said):
    """A photograph with two ids is not taken under one of them, without the tags of the other."""
    content = "id,path,tags\n" + "\n".join([*rows, "9,2.jpg,cat", "10,3.jpg,dog"]) + "\n"
    with pytest.raises(DataError, match="1 problem\n") as caught:
        plan_import(table(content), EASY)
    assert said in caught.value.problem
    mended = tags(table(content, columns=ColumnNames(id="path")))
    assert set(mended) == {"0.jpg", "1.jpg", "2.jpg", "3.jpg"} if "1.jpg" in said else {"0.jpg", "2.jpg", "3.jpg"}


def test_one_stem_with_two_suffixes_is_two_photographs_if_asked():
    """The message names both files and the option."""
    Path("0.png").write_bytes(Path("4.jpg").read_bytes())
    content = "path,tags\n0.jpg,cat\n0.png,dog\n1.jpg,dog\n"
    with pytest.raises(DataError, match=r"'0.jpg' \(t.csv, row 2\) and '0.png' have the same id '0'; --id-column path"):
        plan_import(table(content), EASY)
    assert tags(table(content, columns=ColumnNames(id="path")))["0.png"] == ("dog",)


CELLS = {
    "Python": "['cat', 'dog']", "a tuple": "('cat', 'dog')", "a set": "{'cat', 'dog'}", "NumPy": "['cat' 'dog']",
    "NumPy 2": "[np.str_('cat'), np.str_('dog')]", "an array": "array(['cat', 'dog'], dtype=object)", "bare": "[cat, dog]",
    "long NumPy": "['cat'\n 'dog']", "nulls": "[None, 'cat', nan, 'dog']", "PostgreSQL": "{cat,dog}", "JSON": '["cat", "dog"]',
    "nulls in a list": [None, "cat", float("nan"), "dog"], "Label Studio": '{"choices": ["cat", "dog"]}',
    "boxes of Label Studio": '[{"x": 1, "rectanglelabels": ["cat"]}, {"x": 2, "rectanglelabels": ["dog"]}]',
    "Create ML": [{"label": "cat", "coordinates": {"x": 1}}, {"label": "dog", "coordinates": {"x": 1}}],
}  # fmt: skip
EMPTY = ["", "[]", "()", "{}", "set()", "[None]", None, float("nan"), [], {}, [None]]
NUMBERS = {"3": "3", 3.0: "3", "[3]": "3", "[3.0]": "3"}
REFUSED = {
    "a dictionary": ({"cat": 1, "dog": 0}, "a dictionary with the keys cat, dog is not a list of tags; write"),
    "its text": ("{'cat': 1}", "a dictionary with the keys cat is not"),
    "code": ("[__import__('os').getcwd()]", "is not a list of tags"),
    "no end": ("['cat'", "is not a list of tags"),
    "what NumPy left out": ("['a' 'b' ... 'c']", "is not a list of tags"),
    "true": (True, "true is not a class; a column of true and false is named with --tag-columns"),
    "a fraction": (0.5, "the number 0.5 is not a class"),
    "below zero": (-1, "the number -1 is not a class"),
    "bytes": (b"cat", "is not a list of tags"),
    "lists in a list": ([["cat"]], "is not a list of tags"),
}


def test_a_cell_says_its_tags_in_many_ways():
    """Text of lists as Python, NumPy and databases print them, numbers, dictionaries with a name; nulls are dropped."""
    for name, cell in CELLS.items():
        assert tags_in(cell) == ("cat", "dog"), name
    for cell in EMPTY:
        assert tags_in(cell) == (), cell
    for cell, tag in NUMBERS.items():
        assert tags_in(cell) == (tag,), cell
    assert tags_in("[0 1]") == tags_in([0, 1, None]) == ("0", "1")
    assert tags_in("(indoors), it's") == ("(indoors)", "it's")
    assert tags_in("['it\\'s', \"a, b\"]") == ("it's", "a, b")
    assert tags_in("haze primary", " ") == ("haze", "primary")
    for name, (cell, reason) in REFUSED.items():
        with pytest.raises(NotTagsError) as caught:
            tags_in(cell)
        assert reason in str(caught.value), name


FRAME = pd.DataFrame({"path": ["0.jpg", "1.jpg", "2.jpg"], "tags": [["cat", "dog"], ["dog"], []]})


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_what_pandas_writes_is_read(suffix):
    """Lists in cells, an index without a name, a column of categories, whole numbers that an empty cell made broken ones."""
    frame = FRAME.assign(path=FRAME["path"].astype("category"), id=[0.0, 1.0, None])
    path = f"t{suffix}"
    write = {
        ".csv": lambda: frame.drop(columns="id").to_csv(path),
        ".tsv": lambda: frame.drop(columns="id").to_csv(path, sep="\t"),
        ".json": lambda: frame.to_json(path, orient="records", indent=2),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write[suffix]()
    assert tags(find_table(Path(path))) == {"0": ("cat", "dog"), "1": ("dog",), "2": ()}


@pytest.mark.parametrize("orient", ["columns", "index", "split", "table"])
def test_other_forms_of_json_are_refused_in_one_line(orient):
    """With what pandas has to be told. One row alone is a row."""
    FRAME.to_json("t.json", orient=orient)
    with pytest.raises(DataError, match=r'1 problem\n  t.json: is one object with the keys .*orient="records"\)\)\n'):
        plan_import(find_table(Path("t.json")), EASY)
    FRAME[:1].to_json("t.jsonl", orient="records", lines=True)
    assert tags(find_table(Path("t.jsonl"))) == {"0": ("cat", "dog")}
    with pytest.raises(DataError, match="is a COCO file; type `labelfactory import coco FILE --images DIR`"):
        plan_import(table('{"images": [], "annotations": [], "categories": []}', "c.json"), EASY)


TEXT = "Datei;Wörter\n0.jpg;Äffchen|cat\n1.jpg;cat\n"
GERMAN = ColumnNames("Datei", "Wörter")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_what_excel_writes_is_read(encoding):
    """UTF-8 and UTF-16 by their marks, semicolons, its line `sep=;`, and empty cells at the end of rows and of the header."""
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    for text in (TEXT, "sep=;\r\n" + TEXT, TEXT.replace("\n", ";;\r\n")):
        batch = table(mark + text.encode(encoding), columns=GERMAN)
        assert tags(batch) == {"0": ("cat", "Äffchen"), "1": ("cat",)}
        assert len(batch.decisions) == encoding.startswith("utf-16")


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "mac_roman"])
def test_another_encoding_is_asked_for(encoding):
    """It cannot be known: the message shows how a row would read, and what to type."""
    data = TEXT.encode(encoding)
    with pytest.raises(DataError, match=r"1 problem\n  t.csv.*: not UTF-8 text.*--encoding (cp1252|utf-16-le)"):
        plan_import(table(data, columns=GERMAN), EASY)
    assert tags(table(data, columns=GERMAN, encoding=encoding))["0"] == ("cat", "Äffchen")
    with pytest.raises(UserError, match="--encoding 'klingon' is not known"):
        table(data, encoding="klingon")
    with pytest.raises(DataError, match="not readable: not ascii text"):
        plan_import(table("path,tags\nä,cat\n", encoding="ascii"), EASY)


@pytest.mark.parametrize("encoding", ["undefined", "punycode", "idna", "utf-7", "utf-32"])
def test_a_codec_that_does_not_say_where_it_fails_is_a_problem_too(encoding):
    """Played: Python's own codecs for tests and host names as --encoding; two of them raise an error without a place."""
    batch = table(b"path,tags\n0.jpg,\xff\n", encoding=encoding)
    with pytest.raises(DataError, match=f"1 problem\n  t.csv.*: not readable: not {encoding} text"):
        plan_import(batch, EASY)


FLAGS = 'filename, cat, hot dog, "a, b", split\n0.jpg,1,0,1,train\n1.jpg,0,1,0,valid\n2.jpg,0,0,0,test\n'


def test_a_column_for_each_class_is_named_and_the_message_says_how():
    """Roboflow's multi-class CSV. The option that the message prints is the one to type."""
    with pytest.raises(
        DataError, match=r"has no column of tags .*--tags-column; these hold 0 and 1: --tag-columns '(.*)'"
    ) as caught:
        plan_import(table(FLAGS), EASY)
    typed = caught.value.problem.partition("--tag-columns '")[2].partition("'")[0]
    columns = ColumnNames(tag_columns=tuple(split_names(typed)))
    batch = table(FLAGS, columns=columns)
    assert tags(batch) == {"0": ("a, b", "cat"), "1": ("hot dog",), "2": ()}
    assert plan_import(batch, ImportOptions()).manifest.classes.names == ("cat", "hot dog", "a, b")
    assert [c.lists for c in batch.candidates] == [("train",), ("val",), ("test",)]
    with pytest.raises(DataError, match="--tag-columns: there is no column 'cot'; did you mean `cat`"):
        plan_import(table(FLAGS, columns=ColumnNames(tag_columns=("cot",))), EASY)


@pytest.mark.parametrize(
    ("cells", "cat"),
    [
        ([1, 0], True),
        ([True, False], True),
        ([1.0, 0.0], True),
        (["1", "-1"], True),
        ([1, -1], True),
        ([1, None], True),
    ],
)
def test_flags_are_written_in_several_ways(cells, cat):
    """CelebA's -1 is *not there*."""
    rows = [{"path": f"{k}.jpg", "cat": cell, "dog": 1} for k, cell in enumerate(cells)]
    assert tags(table(rows, columns=ColumnNames(tag_columns=("cat", "dog")))) == {"0": ("cat", "dog"), "1": ("dog",)}


def test_flags_of_other_values_are_refused():
    """-1 beside 0 is *not known* (CheXpert) or *difficult* (VOC); a probability is no tag."""
    for cell in (-1, 0.7, "maybe", [1]):
        rows = [{"path": f"{k}.jpg", "cat": value} for k, value in enumerate((1, 0, cell))]
        with pytest.raises(DataError, match=r"row 3: 2.jpg: .* in the column 'cat' is neither 0 nor 1"):
            plan_import(table(rows, columns=ColumnNames(tag_columns=("cat",))), EASY)


ENDS = "paths that lead elsewhere were found by their ends (1 rows)"
PATHS = {
    "backslashes": ("train\\a.jpg", "train/a", "backslashes in paths were read as slashes (1 rows)"),
    "no suffix": ("train/a", "train/a", "the suffix was found in the folder (1 rows)"),
    "no suffix, a dot": ("v1.a", "v1.a", "the suffix was found in the folder (1 rows)"),
    "Windows": ("C:\\data\\train\\a.jpg", "train/a", ENDS),
    "another computer": ("/home/ann/data/train/a.jpg", "train/a", ENDS),
    "Label Studio's uploads": ("/data/upload/1/train/a.jpg", "train/a", ENDS),
    "a quoted blank": ("images/b%20c.jpg", "images/b c", ENDS),
    "a blank": ("images/b c.jpg", "images/b c", None),
}


@pytest.mark.parametrize("case", list(PATHS))
def test_paths_of_other_systems_are_found(case):
    """By what is in the folder, and said."""
    stated, image_id, said = PATHS[case]
    Path("v1.a.jpg").write_bytes(Path("4.jpg").read_bytes())
    batch = table([{"path": stated, "tags": "cat"}])
    assert tags(batch) == {image_id: ("cat",)}
    assert batch.decisions == (() if said is None else (said,))


def test_two_paths_that_could_mean_one_file_are_refused():
    """Their tags would be joined."""
    rows = [{"path": f"/x/{name}/a.jpg", "tags": tag} for name, tag in (("train", "cat"), ("val", "dog"))]
    Path("a.jpg").write_bytes(Path("4.jpg").read_bytes())
    Path("train/a.jpg").unlink()
    with pytest.raises(
        DataError, match=r"row 2: .*'/x/val/a.jpg' and '/x/train/a.jpg' could both mean 'a.jpg'; --root"
    ):
        plan_import(table(rows), EASY)


def test_a_name_without_suffix_that_could_be_two_files_is_refused():
    """Both are named."""
    Path("0.png").write_bytes(Path("4.jpg").read_bytes())
    with pytest.raises(DataError, match=r"'0' could be 0.jpg or 0.png; write the suffix"):
        plan_import(table("path,tags\n0,cat\n1,dog\n"), EASY)


def test_a_first_row_that_is_no_header_is_said():
    """Google's AutoML and Caffe's lists begin with a photograph; with a header, further cells of a row are further tags."""
    rows = "TRAIN,0.jpg,cat,dog\nVALIDATION,1.jpg,dog\nTEST,2.jpg,cat\n"
    for text in (rows, "0.jpg 0\n1.jpg 1\n"):
        with pytest.raises(
            DataError, match=r"1 problem\n  t.csv: the first row names a photograph .*; write a row above it"
        ):
            plan_import(table(text), EASY)
    batch = table("set,path,tags\n" + rows)
    assert {c.image_id: (c.lists, c.tags) for c in batch.candidates} == {
        "0": (("train",), ("cat", "dog")), "1": (("val",), ("dog",)), "2": (("test",), ("cat",))
    }  # fmt: skip
    assert batch.decisions == (
        "cells beyond the header were read as tags (1 rows)",
        "lists by their names: TEST → test (1), TRAIN → train (1), VALIDATION → val (1)",
    )
    with pytest.raises(DataError, match=r"row 2: 0.jpg: 3 cells, the header has 2"):
        plan_import(table("tags,path\ncat,0.jpg,dog\n"), EASY)


def test_what_a_confidence_of_0_names_is_not_there():
    """Open Images' labels that a person checked; the file's name has no suffix."""
    rows = "ImageID,Source,LabelName,Confidence\n0,verification,/m/cat,1\n0,verification,/m/dog,0\n1,verification,/m/dog,1\n"
    batch = table(rows, columns=ColumnNames("ImageID", "LabelName"))
    assert tags(batch) == {"0": ("/m/cat",), "1": ("/m/dog",)}
    assert "a confidence of 0 says that the tag is not there (1 rows)" in batch.decisions


def test_tags_apart_by_blanks_are_asked_for():
    """Kaggle's planet and plants: words that recur are said to be one tag each, with the option; it splits them."""
    cells = ["haze primary", "clear primary", "clear", "haze water primary", "water clear"]
    rows = "image_name,tags\n" + "".join(f"{k},{cell}\n" for k, cell in enumerate(cells))
    (_, said) = table(rows).decisions
    assert (
        said
        == "each of 'clear primary', 'haze primary', … is one tag (4 photographs); --separator ' ' splits them at blanks"
    )
    assert tags(table(rows, separator=" "))["3"] == ("haze", "primary", "water")
    house = "path,tags\n0.jpg,house cat\n1.jpg,wild cat\n2.jpg,dog\n"
    assert table(house).decisions == ()
    many = "path,tags\n" + "".join(f"{k}.jpg,a{k // 18} b{k % 18}\n" for k in range(300))
    assert table(many).problems[0].endswith("is one tag (300 photographs); --separator ' ' splits them at blanks")


def test_cells_that_say_that_they_are_empty_are_empty():
    """As programs write a missing value; it is said."""
    batch = table("path,tags\n0.jpg,nan\n1.jpg,None\n2.jpg,cat\n")
    assert tags(batch) == {"0": (), "1": (), "2": ("cat",)}
    assert batch.decisions == ("nan was read as an empty cell (1 rows)", "None was read as an empty cell (1 rows)")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("# exported by us\n#\npath,tags\n0.jpg,cat\n1.jpg,dog\n", "t.csv"),
        ("path tags\n0.jpg cat\n1.jpg  dog\n", "t.txt"),
        ("path|tags\n0.jpg|cat\n1.jpg|dog\n", "t.txt"),
        ("path,tags\r0.jpg,cat\r1.jpg,dog\r", "t.csv"),
        ('{"0.jpg": ["cat"], "1.jpg": "dog"}', "t.json"),
    ],
)
def test_other_forms_of_a_table_are_read(text, name):
    """Comments above the header, blanks or bars between cells, an old Mac's lines, an object of paths."""
    assert tags(table(text, name)) == {"0": ("cat",), "1": ("dog",)}


def test_other_forms_that_are_not_read_say_what_to_do():
    """A table that was saved twice, boxes without a header, an index of images, a column that holds the names of files."""
    for text, said in {
        '"path,tags"\n"0.jpg,cat"\n': r"each row is one cell in quotes \('path,tags'\); save it without the outer quotes",
        "0.jpg,1,2,3,4,cat\n1.jpg,1,2,3,4,dog\n": "the first row names a photograph",
        "1 images/a.jpg\n": "the first row names a photograph",
        "Image Index,tags\n0.jpg,cat\n": "has no column of paths .*; name it with --path-column 'Image Index'",
        "image_id,tags\n0,cat\n": "has no column of paths .*; name it with --path-column image_id",
    }.items():
        with pytest.raises(DataError, match=f"1 problem\n  t.csv: {said}"):
            plan_import(table(text), EASY)


def test_a_path_that_no_disk_can_hold_costs_its_row():
    """Played: a part of a path is longer than names on a disk may be; the import ended with "cannot be written"."""
    for long in ("a" * 300, "a" * 300 + "/b", "b/" + "a" * 300 + "/c.jpg", "a/" * 3000 + "b.jpg"):
        batch = table([{"path": "0.jpg", "tags": ["cat"]}, {"path": long, "tags": ["cat"]}])
        with pytest.raises(DataError, match=r"1 problem\n  t.jsonl.*row 2|1 problem\n  t.jsonl:2"):
            plan_import(batch, EASY)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "cell",
    [
        "[cat" + " " * 3000 + "(]",
        "[" + "cat " * 2000 + "(]",
        "[np.str_(" + " " * 3000 + "(]",
        "[" + "'a' " * 9999 + "(]",
    ],
)
def test_no_cell_takes_minutes(cell):
    """Played: blanks that three parts of a pattern may each take, before a character that none takes."""
    with pytest.raises(NotTagsError, match="is not a list of tags"):
        tags_in(cell)


@pytest.mark.parametrize("depth", [300, 900])
@pytest.mark.parametrize(("open_", "close"), [('{"labels": [', "]}"), ("[", "]")])
def test_lists_within_lists_cost_their_row(depth, open_, close):
    """Played: a cell of JSON that is nested deeper than Python calls functions."""
    nested = open_ * depth + close * depth
    text = f'{{"path": "0.jpg", "tags": ["cat"]}}\n{{"path": "1.jpg", "tags": {nested}}}\n'
    batch = table(text, "t.jsonl")
    with pytest.raises(DataError, match=r"1 problem\n.*(is not a list of tags|are not tags|not JSON|nested)"):
        plan_import(batch, EASY)


def test_label_studios_addresses_are_paths():
    """Its CSV of choices: one of them as text, several as JSON."""
    quoted = '"{""choices"":[""cat"",""dog""]}"'
    rows = f"image,id,choice\n/data/local-files/?d=images/b%20c.jpg,7,cat\n/data/local-files/?d=1.jpg,8,{quoted}\n"
    batch = table(rows, columns=ColumnNames(tags="choice"))
    assert tags(batch) == {"7": ("cat",), "8": ("cat", "dog")}
    assert batch.decisions == ("paths were read from Label Studio's addresses (2 rows)",)


def test_unlabeled_photographs_are_no_negatives():
    """AutoML's UNASSIGNED without a tag. On train, an empty cell is a negative."""
    batch = table("path,tags,split\n0.jpg,cat,train\n1.jpg,,train\n2.jpg,,UNASSIGNED\n3.jpg,dog,unlabeled\n")
    assert [c.image_id for c in batch.candidates] == ["0", "1", "3"]
    assert batch.decisions == ("1 photographs without a tag on a list of unlabeled ones are not taken",)


def test_fastai_marks_validation_with_true():
    """is_valid is a list. Names of lists that params.yaml has stay."""
    batch = table("fname,labels,is_valid\n0.jpg,cat,False\n1.jpg,dog,True\n")
    assert [c.lists for c in batch.candidates] == [("train",), ("val",)]
    batch = table("path,tags,split\n0.jpg,cat,training\n1.jpg,dog,dev\n", own_lists=("training", "dev"))
    assert [c.lists for c in batch.candidates] == [("training",), ("dev",)]


def test_numbers_of_a_parquet_table_are_classes_as_in_csv():
    """Of ints, of lists with nulls, and of a dictionary's column."""
    columns = pa.table({"path": pa.array(["0.jpg", "1.jpg"]).dictionary_encode(), "tags": [[0, None], [1]]})
    pq.write_table(columns, "t.parquet")
    assert tags(find_table(Path("t.parquet"))) == {"0": ("0",), "1": ("1",)}
    buffer = io.StringIO()
    pd.DataFrame({"path": ["0.jpg", "1.jpg"], "tags": [0, 1]}).to_csv(buffer, index=False)
    assert tags(table(buffer.getvalue())) == {"0": ("0",), "1": ("1",)}


def test_equal_rows_do_not_hide_a_missing_file():
    """A photograph of three objects that is not there is one problem."""
    rows = (
        BOXES
        + "".join(f"gone.jpg,8,8,cat,{k},1,2,2\n" for k in range(3))
        + "0.jpg,8,8,cat,1,1,2,2\n1.jpg,8,8,cat,1,1,2,2\n"
    )
    plan = plan_import(table(rows), dataclasses.replace(EASY, max_bad_fraction=0.4))
    assert [item.image_id for item in plan.left_out] == ["gone"]
