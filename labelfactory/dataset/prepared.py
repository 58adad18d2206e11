"""The prepared data set: every checked photograph with its size, tags, lists and shard.

data/dataset/images.parquet, one row per photograph of the manifest, in its order:
    image_id, path, sha256, lists, tags, mask_path, mask_sha256, position   as in the manifest
    width, height   int32, pixels, upright (EXIF applied): the manifest's, or measured by `prepare`; 0 if quarantined
    split           string: "train" (goes through the line), "score" (scored only) or "rest"
    shard           int32: position // shard_size
    status          string: "ok" or "quarantined"; reason: string, empty when ok
Schema metadata `labelfactory` (JSON): the manifest's, with max_bad_fraction, train_list, val_list, shard_size and
    compression. Format 1 has neither of the last two: they are read as 256 images per shard and zstd.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.dataset.images import Photograph, read_photograph
from labelfactory.dataset.manifest import SCHEMA as MANIFEST_SCHEMA
from labelfactory.dataset.manifest import read_classes
from labelfactory.dataset.tables import (
    check_columns,
    check_format,
    check_head,
    read_columns,
    read_group,
    read_groups,
    write_table,
)
from labelfactory.digests import digest_json, digest_rows
from labelfactory.errors import DataError, MissingError
from labelfactory.schema import Classes

IMAGES = Path("data/dataset/images.parquet")
REMEDY = "Type `dvc repro prepare`."
SHARD_SIZE = 256
COMPRESSION = "zstd"
FORMAT = 2
ROW_GROUP = 4096
"""Rows that are read at once for one shard."""

SCHEMA = pa.schema(
    [
        *MANIFEST_SCHEMA,
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
        """Over the parts that a stage may read: the photograph's bytes and the tags."""
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
    shard_size: int = SHARD_SIZE
    compression: str = COMPRESSION

    def supervised_digest(self, record: ImageRecord) -> str:
        """Over what a network learns from a true mask: the photograph's bytes, the mask's, and the class of each mask value."""
        return digest_json([record.sha256, record.mask_sha256, sorted(self.mask_ids.items())])

    @cached_property
    def usable(self) -> tuple[ImageRecord, ...]:
        """Photographs that passed `prepare`."""
        return tuple(r for r in self.records if r.status == "ok")

    @cached_property
    def training(self) -> tuple[ImageRecord, ...]:
        """The usable photographs of the training list, which go through the line."""
        return tuple(r for r in self.usable if r.split == "train")

    def digest_of(self, name: str) -> str:
        """Digest of what networks are scored on without true masks: the classes, and photographs and tags of a list."""
        rows = digest_rows((r.image_id, r.digest) for r in self.usable if name in r.lists)
        return digest_json({"list": name, "classes": list(self.classes.names), "rows": rows})

    def on_list(self, name: str) -> tuple[ImageRecord, ...]:
        """The usable photographs of a list.

        Raises:
            DataError: it has none.
        """
        records = tuple(r for r in self.usable if name in r.lists)
        if not records:
            lists = sorted({n for r in self.records for n in r.lists})
            raise DataError(f"the list {name!r} has no usable image", f"The data set has the lists {', '.join(lists)}.")
        return records


def write_dataset(dataset: Dataset, path: Path = IMAGES) -> None:
    """Write the data set atomically. The same data set gives the same bytes."""
    meta = {
        "format": FORMAT,
        "classes": list(dataset.classes.names),
        "mask_ids": {str(k): v for k, v in sorted(dataset.mask_ids.items())},
        "train_list": dataset.train_list,
        "val_list": dataset.val_list,
        "max_bad_fraction": dataset.max_bad_fraction,
        "shard_size": dataset.shard_size,
        "compression": dataset.compression,
    }
    write_table(path, dataset.records, SCHEMA, meta, row_group=ROW_GROUP)


def read_dataset(path: Path = IMAGES) -> Dataset:
    """Read the data set of `prepare`.

    Raises:
        MissingError: `prepare` has not run.
        DataError: the file is damaged, or written by a newer labelfactory.
    """
    _check_there(path)
    table, meta = read_columns(path, None, remedy=REMEDY)
    meta, classes, mask_ids = _head(path, meta)
    records = tuple(_record(row) for row in check_columns(path, table, SCHEMA, remedy=REMEDY).to_pylist())
    return Dataset(
        classes=classes,
        mask_ids=mask_ids,
        train_list=meta["train_list"],
        val_list=meta["val_list"],
        max_bad_fraction=meta["max_bad_fraction"],
        records=records,
        shard_size=meta["shard_size"],
        compression=meta["compression"],
    )


def classes_of(path: Path = IMAGES) -> Classes:
    """The classes of a data set, from its header alone; errors as for `read_dataset`."""
    _check_there(path)
    return _head(path, read_columns(path, [], remedy=REMEDY)[1])[1]


def _head(path: Path, meta: Mapping[str, Any]) -> tuple[dict[str, Any], Classes, dict[int, int]]:
    """The checked header, its classes, and the class id of each value in the true masks."""
    check_format(path, meta, FORMAT)
    meta = {"shard_size": SHARD_SIZE, "compression": COMPRESSION, **meta}
    kinds = {"train_list": str, "val_list": str, "compression": str, "shard_size": int}
    check_head(path, meta, remedy=REMEDY, max_bad_fraction=(int, float), **kinds)
    if meta["shard_size"] < 1:
        raise DataError(f"{path}: its header has no usable shard_size", REMEDY)
    return meta, *read_classes(path, meta, remedy=REMEDY)


@dataclass(frozen=True)
class Chosen:
    """Photographs that a per-image stage makes rows of, in place of the training list's.

    Attributes:
        lists: names of lists; every photograph on one of them.
        scored: names of lists; the photographs on one of them of which the import names a true mask.
    """

    lists: tuple[str, ...]
    scored: tuple[str, ...]

    def has(self, lists: Collection[str], mask_path: str | None) -> bool:
        """Whether a photograph is one of them, by its lists and the path of its true mask, be its file there or not."""
        return any(name in self.lists or (name in self.scored and mask_path is not None) for name in lists)


class ShardedDataset:
    """The photographs that a per-image stage makes rows of, one shard at a time: memory does not grow with their number.

    Args:
        path: of the data set.
        chosen: which of its usable photographs; None for those of the training list.

    Attributes:
        classes, max_bad_fraction, shard_size, compression: as in Dataset.
        counts: shard → number of its photographs, ascending; without empty shards.

    Raises:
        MissingError, DataError: as `read_dataset`.
    """

    def __init__(self, path: Path = IMAGES, chosen: Chosen | None = None) -> None:
        _check_there(path)
        self._path, self._chosen = path, chosen
        meta, self.classes, _ = _head(path, read_columns(path, [], remedy=REMEDY)[1])
        self.max_bad_fraction: float = meta["max_bad_fraction"]
        self.shard_size: int = meta["shard_size"]
        self.compression: str = meta["compression"]
        counts: dict[int, int] = {}
        self._groups: dict[int, list[int]] = {}  # shard → row groups with its photographs
        told_by = ("split",) if chosen is None else ("lists", "mask_path")
        needed = pa.schema([SCHEMA.field(name) for name in ("shard", "status", *told_by)])
        for group, table in enumerate(read_groups(path, needed.names, remedy=REMEDY)):
            check_columns(path, table, needed, remedy=REMEDY)
            shards = table["shard"].filter(self._is_wanted(table))
            for shard, count in zip(*np.unique(shards, return_counts=True), strict=True):
                counts[int(shard)] = counts.get(int(shard), 0) + int(count)
                self._groups.setdefault(int(shard), []).append(group)
        self.counts = dict(sorted(counts.items()))
        self._group: tuple[int, pa.Table] | None = None

    @property
    def total(self) -> int:
        """Number of its photographs."""
        return sum(self.counts.values())

    def records(self, shard: int) -> list[ImageRecord]:
        """Photographs of a shard, in the data set's order."""
        tables = (self._read(group) for group in self._groups.get(shard, ()))
        in_shard = (table.filter(pc.equal(table["shard"], shard)) for table in tables)
        return [_record(row) for table in in_shard for row in table.filter(self._is_wanted(table)).to_pylist()]

    def _is_wanted(self, table: pa.Table) -> pa.Array:
        """For each row of some columns, whether it is a photograph of this stage."""
        usable = pc.equal(table["status"], "ok")
        if self._chosen is None:
            return pc.and_(usable, pc.equal(table["split"], "train"))
        columns = zip(table["lists"].to_pylist(), table["mask_path"].to_pylist(), strict=True)
        return pc.and_(usable, pa.array([self._chosen.has(*row) for row in columns], pa.bool_()))

    def bad_ids(self) -> set[str]:
        """Ids of the photographs that `prepare` quarantined."""
        needed = pa.schema([SCHEMA.field(name) for name in ("image_id", "status")])
        table, _ = read_columns(self._path, needed.names, remedy=REMEDY)
        check_columns(self._path, table, needed, remedy=REMEDY)
        return set(table.filter(pc.not_equal(table["status"], "ok"))["image_id"].to_pylist())

    def _read(self, group: int) -> pa.Table:
        if self._group is None or self._group[0] != group:
            table = read_group(self._path, group, remedy=REMEDY)
            self._group = (group, check_columns(self._path, table, SCHEMA, remedy=REMEDY))
        return self._group[1]


def _record(row: Mapping[str, Any]) -> ImageRecord:
    return ImageRecord(**{**row, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])})


def _check_there(path: Path) -> None:
    if not path.exists():
        raise MissingError(f"{path}: the data set is not prepared", REMEDY)
