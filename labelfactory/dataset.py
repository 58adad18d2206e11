"""The prepared data set: every photograph checked once, with its size, tags, lists and shard.

data/dataset/images.parquet, one row per photograph of the manifest, in its order:
    image_id, path, sha256, lists, tags, mask_path, mask_sha256, position   as in the manifest
    width, height   int32, pixels, upright (EXIF applied); 0 for a quarantined image
    split           string: "train" (goes through the line), "score" (scored only) or "rest"
    shard           int32: position // 256
    status          string: "ok" or "quarantined"; reason: string, empty when ok
Schema metadata `labelfactory` (JSON): the manifest's, with max_bad_fraction, train_list and val_list.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from labelfactory.digests import digest_json
from labelfactory.errors import DataError, MissingError
from labelfactory.images import Photograph, read_photograph
from labelfactory.manifest import SCHEMA as MANIFEST_SCHEMA
from labelfactory.schema import Classes
from labelfactory.tables import read_table, write_table

IMAGES = Path("data/dataset/images.parquet")
SHARD_SIZE = 256

SCHEMA = pa.schema(
    [
        *MANIFEST_SCHEMA,
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ImageRecord:
    """One photograph; fields as in the module's table."""

    image_id: str
    path: str
    sha256: str
    lists: tuple[str, ...]
    tags: tuple[str, ...]
    mask_path: str | None
    mask_sha256: str | None
    position: int
    width: int
    height: int
    split: str
    shard: int
    status: str
    reason: str

    @property
    def digest(self) -> str:
        """Over what a stage may read of it: the photograph's bytes and the tags."""
        return digest_json([self.sha256, list(self.tags)])

    def photograph(self) -> Photograph:
        """The photograph, [H, W, 3] uint8, checked against its digest."""
        return read_photograph(Path(self.path), self.sha256)


@dataclass(frozen=True)
class Dataset:
    """Every photograph of the data set and its classes."""

    classes: Classes
    mask_ids: dict[int, int]
    train_list: str
    val_list: str
    max_bad_fraction: float
    records: tuple[ImageRecord, ...]

    @cached_property
    def usable(self) -> tuple[ImageRecord, ...]:
        """Photographs that passed `prepare`."""
        return tuple(r for r in self.records if r.status == "ok")

    @cached_property
    def training(self) -> tuple[ImageRecord, ...]:
        """Photographs that go through the line: the usable ones of the training list."""
        return tuple(r for r in self.usable if r.split == "train")

    def on_list(self, name: str) -> tuple[ImageRecord, ...]:
        """The usable photographs of a list.

        Raises:
            DataError: no photograph stands on it.
        """
        found = tuple(r for r in self.usable if name in r.lists)
        if not found:
            lists = sorted({n for r in self.records for n in r.lists})
            raise DataError(f"no image stands on the list {name!r}", f"The data set has the lists {', '.join(lists)}.")
        return found


def write_dataset(dataset: Dataset, path: Path = IMAGES) -> None:
    """Write the data set whole or not at all. The same data set gives the same bytes."""
    meta = {
        "format": 1,
        "classes": list(dataset.classes.names),
        "mask_ids": {str(k): v for k, v in sorted(dataset.mask_ids.items())},
        "train_list": dataset.train_list,
        "val_list": dataset.val_list,
        "max_bad_fraction": dataset.max_bad_fraction,
    }
    write_table(path, dataset.records, SCHEMA, meta)


def read_dataset(path: Path = IMAGES) -> Dataset:
    """Read the data set that `prepare` wrote.

    Raises:
        MissingError: `prepare` has not run.
        DataError: the file is damaged.
    """
    if not path.exists():
        raise MissingError(f"{path}: the data set is not prepared", "Type `dvc repro prepare`.")
    rows, meta = read_table(path, remedy="Type `dvc repro prepare`.")
    records = tuple(ImageRecord(**{**row, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])}) for row in rows)
    return Dataset(
        classes=Classes(tuple(meta["classes"])),
        mask_ids={int(k): v for k, v in meta["mask_ids"].items()},
        train_list=meta["train_list"],
        val_list=meta["val_list"],
        max_bad_fraction=meta["max_bad_fraction"],
        records=records,
    )
