"""What `datasets` loads, `import hf` finds: as many rows, in the same splits and order, with the same tags and ids that differ."""

import gc
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value, load_dataset, load_from_disk
from PIL import Image as Picture

from labelfactory.dataset.images import decode_photograph
from sources.hf import find_hf

NAMES = ["cat", "dog"]
LISTS = {"train": "train", "validation": "val", "test": "test"}
ROOT = Path("set")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)


def split(count: int, first: int, ids: dict[str, list[Any]] | None = None) -> Dataset:
    """`count` pictures of alternating labels; the ids start anew with each split unless they are given."""
    features = {"image": Image(), "label": ClassLabel(names=NAMES)}
    columns: dict[str, list[Any]] = {
        "image": [Picture.fromarray(pixels(first + k)) for k in range(count)],
        "label": [k % 2 for k in range(count)],
    }
    for name, values in (ids or {}).items():
        features[name] = Value("string" if isinstance(values[0], str) else "int64")
        columns[name] = values
    return Dataset.from_dict(columns, features=Features(features))


def splits(ids: Callable[[int, int], dict[str, list[Any]]] = lambda count, first: {}) -> DatasetDict:
    sizes = {"train": (5, 0), "validation": (3, 10), "test": (2, 20)}
    return DatasetDict({name: split(count, first, ids(count, first)) for name, (count, first) in sizes.items()})


IDS: dict[str, Callable[[int, int], dict[str, list[Any]]]] = {
    "no ids": lambda count, first: {},
    "ids from 0 in each split": lambda count, first: {"id": list(range(count))},
    "ids that differ": lambda count, first: {"image_id": [f"p{first + k}" for k in range(count)]},
    "ids that repeat": lambda count, first: {"image_id": [7] * count},
    "image_id repeats, id does not": lambda count, first: {
        "image_id": [7] * count,
        "id": [first + k for k in range(count)],
    },
}


def shards(parts: DatasetDict, path: str, count: int = 2) -> None:
    """Each split in files, by a pattern of its name, number and count."""
    for name, part in parts.items():
        for k in range(count):
            target = ROOT / path.format(split=name, k=k, count=count)
            target.parent.mkdir(parents=True, exist_ok=True)
            part.shard(count, k, contiguous=True).to_parquet(target)


def card(parts: DatasetDict) -> None:
    """As `push_to_hub` writes it, with files whose names say nothing."""
    shards(parts, "parts/{split}/{k}.parquet")
    for name in parts:
        (ROOT / f"parts/{name}").rename(ROOT / f"parts/x{len(name)}")
    rows = [f"  - split: {name}\n    path: parts/x{len(name)}/*" for name in parts]
    header = "\n".join(["---", "configs:", "- config_name: default", "  data_files:", *rows, "---", "# A set"])
    (ROOT / "README.md").write_text(header)


def arrow(parts: DatasetDict) -> None:
    """Files of `save_to_disk` under names of splits, without its states."""
    for name, part in parts.items():
        part.save_to_disk(f"saved/{name}")
        (ROOT / name).mkdir(parents=True)
        shutil.copy(next(Path(f"saved/{name}").glob("*.arrow")), ROOT / name / "data.arrow")


def pictures(parts: DatasetDict, metadata: str = "") -> None:
    """Pictures in folders of splits, in folders of labels or beside a metadata file."""
    for name, part in parts.items():
        rows = []
        for k, row in enumerate(part):
            label = NAMES[row["label"]]
            path = f"{k}.png" if metadata else f"{label}/{k}.png"
            (ROOT / name / path).parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(ROOT / name / path)
            rows.append({"file_name": path, "label": label} | {key: row[key] for key in row if key.endswith("id")})
        if metadata == "metadata.jsonl":
            (ROOT / name / metadata).write_text("\n".join(map(json.dumps, rows)))
        elif metadata:
            lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
            (ROOT / name / metadata).write_text("\n".join(lines))


LAYOUTS: dict[str, Callable[[DatasetDict], object]] = {
    "push_to_hub": lambda parts: shards(parts, "data/{split}-{k:05d}-of-{count:05d}.parquet"),
    "three shards": lambda parts: shards(parts, "data/{split}-{k:05d}-of-{count:05d}-abc.parquet", 2),
    "refs/convert/parquet": lambda parts: shards(parts, "default/{split}/{k:04d}.parquet"),
    "folders of splits": lambda parts: shards(parts, "{split}/data_{k}.parquet"),
    "files of splits": lambda parts: shards(parts, "{split}.parquet", 1),
    "numbered files": lambda parts: shards(parts, "my-{split}_{k}.parquet"),
    "README": card,
    "arrow files": arrow,
    "save_to_disk": lambda parts: parts.save_to_disk(ROOT),
    "save_to_disk in shards": lambda parts: parts.save_to_disk(
        ROOT, num_shards={"train": 3, "validation": 2, "test": 1}
    ),
    "folders of labels": pictures,
    "metadata.csv": lambda parts: pictures(parts, "metadata.csv"),
    "metadata.jsonl": lambda parts: pictures(parts, "metadata.jsonl"),
}
CASES = [
    *((layout, "no ids") for layout in LAYOUTS),
    *(("push_to_hub", ids) for ids in list(IDS)[1:]),
    ("save_to_disk in shards", "ids from 0 in each split"),
    ("refs/convert/parquet", "ids from 0 in each split"),
    ("metadata.csv", "ids from 0 in each split"),
]


def expected() -> dict[str, list[tuple[str, bytes]]]:
    """List → label and pixels of each row, as `datasets` loads them."""
    saved = (ROOT / "dataset_dict.json").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # datasets leaves metadata.csv to the garbage collector
        loaded = load_from_disk(ROOT) if saved else load_dataset(str(ROOT.resolve()), cache_dir="cache")
        gc.collect()
    return {
        LISTS[name]: [
            (row["label"] if isinstance(row["label"], str) else NAMES[row["label"]], np.array(row["image"]).tobytes())
            for row in part
        ]
        for name, part in loaded.items()
    }


@pytest.mark.parametrize(("layout", "ids"), CASES)
def test_rows_splits_and_tags_are_those_of_datasets(layout, ids):
    """In the same order, pixel by pixel."""
    LAYOUTS[layout](splits(IDS[ids]))
    batch = find_hf(ROOT)
    assert not batch.left_out
    found: dict[str, list[tuple[str, bytes]]] = {}
    for candidate in batch.candidates:
        (name,), (tag,) = candidate.lists, candidate.tags
        found.setdefault(name, []).append((tag, decode_photograph(candidate.read_photograph()).tobytes()))
    assert found == expected()
    assert len({candidate.image_id for candidate in batch.candidates}) == 10


@pytest.mark.parametrize(
    ("ids", "first", "words"),
    [
        ("no ids", ["train-000000", "val-000000", "test-000000"], ""),
        ("ids from 0 in each split", ["train-0", "val-0", "test-0"], "'id' restart in each split"),
        ("ids that differ", ["p0", "p10", "p20"], ""),
        (
            "ids that repeat",
            ["train-000000", "val-000000", "test-000000"],
            "'image_id' repeat ('7'), so they are not used",
        ),
        ("image_id repeats, id does not", ["0", "10", "20"], "'image_id' repeat ('7'), so they are not used"),
    ],
)
def test_ids_that_differ_and_what_is_said_of_them(ids, first, words):
    """0 is an id; one that two photographs would share gets its split, or gives way to the number of the row."""
    splits(IDS[ids]).save_to_disk(ROOT)
    batch = find_hf(ROOT)
    assert [batch.candidates[k].image_id for k in (0, 5, 8)] == first
    assert [words in decision for decision in batch.decisions] == [True] * bool(words)


def test_one_split_that_is_dealt_and_one_that_is_named():
    """`datasets` calls train whatever has no other name; such a set is dealt to lists, a saved test split is not."""
    split(4, 0).save_to_disk(ROOT)
    assert {candidate.lists for candidate in find_hf(ROOT).candidates} == {()}
    shutil.rmtree(ROOT)
    Dataset.from_dict({"image": [Picture.fromarray(pixels(0))], "label": ["cat"]}, split="test").save_to_disk(ROOT)
    assert {candidate.lists for candidate in find_hf(ROOT).candidates} == {("test",)}
    shutil.rmtree(ROOT)
    shards(DatasetDict({"train": split(4, 0)}), "data/{split}-{k:05d}-of-{count:05d}.parquet")
    batch = find_hf(ROOT)
    assert {candidate.lists for candidate in batch.candidates} == {("train",)}
    assert any("--val-fraction 0.2" in decision for decision in batch.decisions)
