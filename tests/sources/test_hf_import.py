"""Hugging Face datasets, written by their own library, read without it."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
from PIL import Image as Picture

from labelfactory.dataset.images import decode_mask, decode_photograph, encode_mask
from labelfactory.errors import DataError
from sources._import_plan import ImportOptions, plan_import
from sources.hf import find_hf

EASY = ImportOptions(val_fraction=0.5)


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def cells(count: int, first: int = 0) -> list[dict[str, object]]:
    return [{"bytes": png(first + k), "path": None} for k in range(count)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_saved_dataset_of_class_labels_with_masks(here):
    """Photographs and masks are unpacked byte by byte; names of the ClassLabel number the masks."""
    masks = [encode_mask(np.full((6, 8), k, np.uint8)) for k in (1, 2, 0)]
    features = Features({"image": Image(), "labels": List(ClassLabel(names=["cat", "dog"])), "mask": Image()})
    rows = {"image": cells(3), "labels": [[0], [1, 0], []], "mask": [{"bytes": m, "path": None} for m in masks]}
    Dataset.from_dict(rows, features=features).save_to_disk("d")
    plan = plan_import(find_hf(Path("d")), dataclasses.replace(EASY, check_masks=True))
    plan.write_files()
    assert [entry.tags for entry in plan.manifest.entries] == [("cat",), ("cat", "dog"), ()]
    assert plan.manifest.classes.names == ("cat", "dog")
    assert plan.manifest.mask_ids == {0: 0, 1: 1, 2: 2}
    for k, entry in enumerate(plan.manifest.entries):
        assert Path(entry.path).read_bytes() == png(k)
        assert Path(entry.path).suffix == ".png"
        assert np.array_equal(decode_mask(Path(entry.mask_path).read_bytes()), decode_mask(masks[k]))
    assert not plan.left_out


def test_splits_are_lists_and_text_is_a_tag(here):
    """A DatasetDict of a train and a test split; tags as text."""
    features = Features({"img": Image(), "tags": Value("string")})
    parts = {
        name: Dataset.from_dict({"img": cells(2, first), "tags": ["cat|dog", "dog"]}, features=features)
        for name, first in (("train", 0), ("validation", 5))
    }
    DatasetDict(parts).save_to_disk("d")
    manifest = plan_import(find_hf(Path("d")), ImportOptions()).manifest
    assert [(e.image_id, e.lists, e.tags) for e in manifest.entries] == [
        ("train-000000", ("train",), ("cat", "dog")),
        ("train-000001", ("train",), ("dog",)),
        ("val-000000", ("val",), ("cat", "dog")),
        ("val-000001", ("val",), ("dog",)),
    ]


def test_parquet_with_a_column_for_each_tag(here):
    """ColumnNames of 0 and 1 whose names are the tags."""
    features = Features({"image": Image(), "cat": Value("int64"), "dog": Value("bool")})
    Path("d").mkdir()
    rows = {"image": cells(2), "cat": [1, 0], "dog": [True, True]}
    Dataset.from_dict(rows, features=features).to_parquet("d/train-00000-of-00001.parquet")
    manifest = plan_import(find_hf(Path("d"), tag_columns=["cat", "dog"]), EASY).manifest
    assert [entry.tags for entry in manifest.entries] == [("cat", "dog"), ("dog",)]


def test_photographs_beside_the_dataset_are_read(here):
    """A path instead of bytes counts from the folder, and may not leave it."""
    Path("d").mkdir()
    Path("d/a.png").write_bytes(png(1))
    images = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "../b.png"}, None]
    pq.write_table(pa.table({"image": images, "label": ["cat"] * 3}), "d/train.parquet")
    plan = plan_import(find_hf(Path("d")), dataclasses.replace(EASY, max_bad_fraction=0.9))
    assert len(plan.manifest.entries) == 1
    plan.write_files()
    assert decode_photograph(Path(plan.manifest.entries[0].path).read_bytes()).shape == (6, 8, 3)
    assert [item.reason.partition(";")[0] for item in plan.left_out] == [
        "'../b.png' is outside of d",
        "there is no image in this row",
    ]


def test_what_is_no_dataset_says_so(here):
    """No files, damaged files, no image column, no tag column."""
    with pytest.raises(DataError, match="contains no dataset"):
        find_hf(here / "nothing")
    Path("d").mkdir()
    Path("d/train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"train\.parquet: damaged"):
        find_hf(Path("d"))
    Dataset.from_dict({"x": [1]}).to_parquet("d/train.parquet")
    with pytest.raises(DataError, match="has no image column"):
        find_hf(Path("d"))
    Dataset.from_dict({"image": cells(1)}, features=Features({"image": Image()})).to_parquet("d/train.parquet")
    with pytest.raises(DataError, match="has no tag column"):
        find_hf(Path("d"))
    with pytest.raises(DataError, match="there is no column 'tgs'"):
        find_hf(Path("d"), tag_columns=["tgs"])


@pytest.mark.parametrize("end", [17, 2**31 - 1], ids=["into another column", "outside of the file"])
def test_a_dataset_whose_offsets_lead_elsewhere_is_damaged(here, end):
    """Arrow reads memory by them as they are: the process would end, or an id be the bytes of something else."""
    column = {"image": pa.array(cells(2), pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    table = pa.table({**column, "image_id": ["aaaaaaaa", "bbbbbbbb"], "tags": ["cat", "dog"]})
    with pa.OSFile("whole.arrow", "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    whole = Path("whole.arrow").read_bytes()
    Path("d").mkdir()
    offsets = np.array([0, 8, 16], dtype="<i4").tobytes()
    assert whole.count(offsets) == 1
    Path("d/data.arrow").write_bytes(whole.replace(offsets, np.array([0, 8, end], dtype="<i4").tobytes()))
    with pytest.raises(DataError, match=r"data\.arrow: damaged"):
        plan_import(find_hf(Path("d")), EASY)


def test_a_dataset_whose_column_has_no_name_in_unicode_is_damaged(here):
    """It is read by name."""
    table = pa.table(
        {"image": pa.array(cells(1), pa.struct([("bytes", pa.binary()), ("path", pa.string())])), "tagsss": ["cat"]}
    )
    with pa.OSFile("whole.arrow", "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    Path("d").mkdir()
    Path("d/data.arrow").write_bytes(Path("whole.arrow").read_bytes().replace(b"tagsss", b"\xff\xfesss\xff"))
    with pytest.raises(DataError, match=r"data\.arrow: damaged"):
        plan_import(find_hf(Path("d")), EASY)
