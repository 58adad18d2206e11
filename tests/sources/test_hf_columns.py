"""What the columns of a Hugging Face dataset say: tags in many forms, masks, and pictures that lie elsewhere."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Sequence, Value
from PIL import Image as Picture

from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.errors import DataError
from sources._batch import Batch
from sources._import_plan import ImportOptions, plan_import
from sources.hf import find_hf

LENIENT = ImportOptions(max_bad_fraction=0.9, val_fraction=0.5)
LABEL = ClassLabel(names=["cat", "dog", "fox"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def cells(images: list[bytes]) -> list[dict[str, object]]:
    return [{"bytes": data, "path": None} for data in images]


def saved(feature: Any, values: list[Any], **more: tuple[Any, list[Any]]) -> Path:
    """A dataset of a column `label` and others beside the photographs."""
    columns = {"image": (Image(), cells([png(k) for k in range(len(values))])), "label": (feature, values), **more}
    features = Features({name: kind for name, (kind, _) in columns.items()})
    Dataset.from_dict({name: listed for name, (_, listed) in columns.items()}, features=features).save_to_disk("d")
    return Path("d")


TAGS: dict[str, tuple[Any, list[Any], list[tuple[str, ...]], str]] = {
    "numbers of a ClassLabel": (LABEL, [0, 2, 1], [("cat",), ("fox",), ("dog",)], ""),
    "-1 and -100 are no label": (LABEL, [0, -1, None], [("cat",), (), ()], ""),
    "-100 in a list": (Sequence(LABEL), [[0, 2], [-100], []], [("cat", "fox"), (), ()], ""),
    "a 0 or 1 for each class": (
        Sequence(LABEL),
        [[0, 1, 1], [1, 0, 0], [0, 0, 0]],
        [("dog", "fox"), ("cat",), ()],
        "'label' is read as a 0 or 1 for each class",
    ),
    "numbers of classes in lists of one length": (
        Sequence(LABEL),
        [[0, 1], [1, 2], [0, 2]],
        [("cat", "dog"), ("dog", "fox"), ("cat", "fox")],
        "",
    ),
    "a 0 or 1 for each class without names": (
        Sequence(Value("int64")),
        [[0, 1, 1], [1, 0, 0], [0, 0, 0]],
        [("1", "2"), ("0",), ()],
        "'label' is read as a 0 or 1 for each class",
    ),
    "numbers without names": (
        Value("int64"),
        [0, 7, 1],
        [("0",), ("7",), ("1",)],
        "'label' holds numbers without names, which become the names of the classes; name them with --rename 0=NAME",
    ),
    "true and false": (Value("bool"), [True, False, None], [("label",), (), ()], ""),
    "texts": (Value("string"), ["cat", "dog|fox", ""], [("cat",), ("dog", "fox"), ()], ""),
}


@pytest.mark.parametrize("case", list(TAGS))
def test_tags_in_many_forms(case):
    """Where two readings are possible, the cells decide, and the import says which."""
    feature, values, expected, words = TAGS[case]
    batch = find_hf(saved(feature, values))
    assert [candidate.tags for candidate in batch.candidates] == expected
    assert not batch.left_out
    assert any(words in decision for decision in batch.decisions) if words else not batch.decisions


def test_a_named_column_of_numbers_beyond_1_is_no_flag():
    """--tag-columns of 0 and 1 are flags; a single one with a 7 holds numbers of classes."""
    root = saved(Value("int64"), [0, 7, 1], dog=(Value("int64"), [1, 0, 0]))
    assert [c.tags for c in find_hf(root, tag_columns=["label"]).candidates] == [("0",), ("7",), ("1",)]
    assert [c.tags for c in find_hf(root, tag_columns=["dog"]).candidates] == [("dog",), (), ()]


@pytest.mark.parametrize("form", ["lists", "objects"])
def test_objects_of_a_detection_set_are_tags(form):
    """Each object has a category, in a list of objects or a list for each field."""
    objects = [{"bbox": [0.0, 0.0, 1.0, 1.0], "category": k} for k in (0, 1, 0)]
    fields = {"bbox": Sequence(Value("float64")), "category": LABEL}
    feature = [fields] if form == "objects" else {name: Sequence(kind) for name, kind in fields.items()}
    lists = {name: [item[name] for item in objects] for name in fields}
    values = [objects if form == "objects" else lists, [] if form == "objects" else {"bbox": [], "category": []}]
    columns = {"image": cells([png(0), png(1)]), "objects": values}
    Dataset.from_dict(columns, features=Features({"image": Image(), "objects": feature})).save_to_disk("d")
    assert [c.tags for c in find_hf(Path("d")).candidates] == [("cat", "dog"), ()]


@pytest.mark.parametrize("name", ["mask", "label", "annotation"])
def test_a_picture_beside_the_photograph_is_a_mask(name):
    """A column `label` of images is a true mask, not a tag; a photograph without one has none."""
    masks = [encode_mask(np.full((6, 8), k, np.uint8)) for k in (1, 2)]
    features = Features({name: Image(), "pixel_values": Image(), "classes": Sequence(LABEL)})
    columns = {
        name: [*cells(masks), None],
        "pixel_values": cells([png(k) for k in range(3)]),
        "classes": [[0], [1], [2]],
    }
    Dataset.from_dict(columns, features=features).save_to_disk("d")
    batch = find_hf(Path("d"))
    assert f"the column {name!r} holds the true masks; 1 is 'cat'" in batch.decisions
    plan = plan_import(batch, dataclasses.replace(LENIENT, check_masks=True))
    plan.write_files()
    assert not plan.left_out
    read = [decode_mask(Path(e.mask_path).read_bytes())[0, 0] if e.mask_path else None for e in plan.manifest.entries]
    assert read == [1, 2, None]
    assert [e.tags for e in plan.manifest.entries] == [("cat",), ("dog",), ("fox",)]


def test_masks_without_names_for_their_values_are_not_read():
    """It is said, as their photographs have no true masks then."""
    mask = encode_mask(np.ones((6, 8), np.uint8))
    batch = find_hf(saved(Value("string"), ["cat", "dog"], mask=(Image(), cells([mask, mask]))))
    assert [candidate.mask for candidate in batch.candidates] == [None, None]
    assert any(
        "no true masks: no tag column names the values in the column 'mask'" in decision for decision in batch.decisions
    )


def segmentation_set() -> None:
    """As sets for segmentation are on the hub: photographs and masks, no tags, ids or lists."""
    masks = [np.zeros((6, 8), np.uint8) for _ in range(4)]
    for k, values in enumerate(((1, 3), (3,), (1, 255), (1, 9))):
        for column, value in enumerate(values):
            masks[k][:, column] = value
    features = Features({"pixel_values": Image(), "label": Image()})
    rows = {"pixel_values": cells([png(k) for k in range(4)]), "label": cells([encode_mask(mask) for mask in masks])}
    Dataset.from_dict(rows, features=features).save_to_disk("d")


def test_a_set_for_segmentation_without_tags_says_what_to_type():
    """Its masks are not taken for tags, unless a person says so and names their values."""
    segmentation_set()
    with pytest.raises(DataError, match="has no tag column") as caught:
        find_hf(Path("d"))
    assert "take the tags from the masks in 'label' with --tags-from-masks" in caught.value.remedy
    with pytest.raises(DataError, match="'label' is a column of images"):
        find_hf(Path("d"), tag_columns=["label"])
    with pytest.raises(DataError, match="nothing names the values of its masks") as caught:
        find_hf(Path("d"), tags_from_masks=True)
    assert "d/id2label.json" in caught.value.remedy


def test_tags_are_the_classes_of_the_masks():
    """Names of id2label.json; 0 is the background whatever it is called, 255 is void."""
    segmentation_set()
    Path("d/id2label.json").write_text('{"0": "unlabeled", "1": "cat", "2": "fox", "3": "dog", "255": "edge"}')
    batch = find_hf(Path("d"), tags_from_masks=True)
    assert [c.tags for c in batch.candidates] == [("cat", "dog"), ("dog",), ("cat",), ("cat",)]
    assert (batch.names, batch.mask_values) == (("cat", "dog"), {1: "cat", 3: "dog"})
    assert "not used: fox" in batch.decisions
    assert "the value 9 in 1 masks has no name in id2label.json, and is void" in batch.decisions
    assert plan_import(batch, LENIENT).manifest.mask_ids == {0: 0, 1: 1, 3: 2}


def test_names_of_another_kind_do_not_name_the_values_of_masks():
    """As in scene_parse150, whose scenes are a ClassLabel and whose masks hold objects."""
    mask = encode_mask(np.ones((6, 8), np.uint8))
    features = Features({"image": Image(), "annotation": Image(), "scene": LABEL})
    rows = {"image": cells([png(0), png(1)]), "annotation": cells([mask, mask]), "scene": [0, 1]}
    Dataset.from_dict(rows, features=features).save_to_disk("d")
    batch = find_hf(Path("d"))
    assert [(c.tags, c.mask) for c in batch.candidates] == [(("cat",), None), (("dog",), None)]
    assert any("if one does, type --tag-columns with it" in decision for decision in batch.decisions)
    assert all(c.mask for c in find_hf(Path("d"), tag_columns=["scene"]).candidates)


PATHS = {
    "beside the file": ("a.png", "d/data/a.png"),
    "from the root": ("pictures/a.png", "d/pictures/a.png"),
    "of the cache of another machine": ("/root/.cache/huggingface/pictures/a.png", "d/pictures/a.png"),
}


@pytest.mark.parametrize("case", list(PATHS))
def test_a_path_without_bytes_is_a_file_below_the_folder(case):
    """From the root or from the file that names it, or by the end of its name."""
    stated, file = PATHS[case]
    rows = [{"bytes": None, "path": stated}, {"bytes": png(1), "path": "b.png"}]
    write_rows("d/data/train-00000-of-00001.parquet", rows)
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_bytes(png(7))
    batch = find_hf(Path("d"))
    assert [candidate.read_photograph() for candidate in batch.candidates] == [png(7), png(1)]


def write_rows(path: str, images: list[dict[str, Any]], **columns: list[Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, **(columns or {"label": ["cat"] * len(images)})}), path)


@pytest.mark.parametrize("stated", ["a.png", "/home/me/a.png"])
def test_a_path_without_a_file_costs_its_photograph(stated):
    """It is told what to type, and the others are imported."""
    write_rows("d/train.parquet", [{"bytes": None, "path": stated}, *cells([png(1), png(2)])])
    plan = plan_import(find_hf(Path("d")), LENIENT)
    (item,) = plan.left_out
    assert item.where == "train.parquet, row 1"
    assert stated in item.reason
    assert "save_to_disk" in item.reason
    assert len(plan.manifest.entries) == 2


def test_names_of_classes_in_the_readme():
    """Parquet that pandas wrote has no header; the card of the set names its numbers."""
    write_rows("d/train.parquet", cells([png(0), png(1)]), label=[1, 0])
    label = "  - name: label\n    dtype:\n      class_label:\n        names:\n          '0': cat\n          '1': dog\n"
    Path("d/README.md").write_text(f"---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n{label}---\n")
    batch = find_hf(Path("d"))
    assert batch.names == ("cat", "dog")
    assert [candidate.tags for candidate in batch.candidates] == [("dog",), ("cat",)]


def configs(*names: str, default: str = "") -> None:
    items = []
    for name in names:
        write_rows(f"d/{name}/x.parquet", cells([png(len(name))]), label=[name])
        flag = "  default: true\n" if name == default else ""
        items.append(f"- config_name: {name}\n{flag}  data_files:\n  - split: test\n    path: {name}/*\n")
    Path("d/README.md").write_text(f"---\nconfigs:\n{''.join(items)}---\n")


def test_configurations_of_a_readme():
    """The only one, the default one, or the one that was named; else a person is asked."""

    def tags(batch: Batch) -> list[tuple[Any, ...]]:
        return [(*candidate.tags, *candidate.lists) for candidate in batch.candidates]

    configs("small", "large")
    with pytest.raises(DataError, match="has 2 configurations: small, large") as caught:
        find_hf(Path("d"))
    assert caught.value.remedy == "Name one: --config NAME."
    batch = find_hf(Path("d"), config="large")
    assert (tags(batch), batch.command) == ([("large", "test")], "import hf d --config large")
    configs("small", "large", default="small")
    assert tags(find_hf(Path("d"))) == [("small", "test")]
    with pytest.raises(DataError, match=r"has no configuration 'lage'.*large"):
        find_hf(Path("d"), config="lage")


def test_files_of_no_split_are_passed_over_and_other_kinds_named():
    """As `datasets` does; a folder of archives says what it holds and how to save it so that it is read."""
    write_rows("d/train.parquet", cells([png(0)]))
    write_rows("d/extra.parquet", cells([png(1)]))
    batch = find_hf(Path("d"))
    assert (len(batch.candidates), batch.passed_over) == (1, {".parquet": 1})
    Path("w").mkdir()
    Path("w/train-0000.tar").write_bytes(b"x")
    with pytest.raises(DataError, match=r"contains no dataset, but \.tar 1") as caught:
        find_hf(Path("w"))
    assert "save_to_disk('NEW')" in caught.value.remedy
    Path("w/train.csv").write_text("image,label\na.png,cat\n")
    with pytest.raises(DataError, match="contains no dataset") as caught:
        find_hf(Path("w"))
    assert "labelfactory import table w/train.csv" in caught.value.remedy


def test_a_metadata_file_names_masks_and_tags():
    """`mask_file_name` is a column of pictures, as `image` is; lists are read as they stand."""
    Path("d/masks").mkdir(parents=True)
    rows = []
    for k, tags in enumerate((["cat"], ["cat", "dog"], [])):
        Path(f"d/{k}.png").write_bytes(png(k))
        Path(f"d/masks/{k}.png").write_bytes(encode_mask(np.full((6, 8), 1, np.uint8)))
        rows.append({"file_name": f"{k}.png", "mask_file_name": f"masks/{k}.png", "tags": tags, "id": k})
    Path("d/metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    batch = find_hf(Path("d"))
    assert [(c.image_id, c.tags) for c in batch.candidates] == [("0", ("cat",)), ("1", ("cat", "dog")), ("2", ())]
    assert [c.path.as_posix() for c in batch.candidates] == [f"d/{k}.png" for k in range(3)]  # not copied
    assert find_hf(Path("d"), tag_columns=["tags"]).candidates[1].read_photograph() == png(1)
