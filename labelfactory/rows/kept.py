"""Rows in the store: the shards that a stage wrote, and those that it replaced, found again by image and key.

data/store/<noun>/shard-00012.<digest of its rows>/shard-00012.parquet: a shard, or the rows of it that no later version has.
An image never moves to another shard, so a row is looked for among the versions of its own shard.
"""

import json
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.console import say
from labelfactory.dataset.withdrawn import Withdrawn, withdrawn
from labelfactory.digests import digest_json
from labelfactory.rows.header import STATE_COLUMNS
from labelfactory.rows.intact import intact_rows
from labelfactory.rows.shards import FinishedRow, write_table
from labelfactory.store.entries import (
    entries,
    folder_of,
    holds,
    keep,
    last_used_first,
    link,
    names,
    remove,
    use,
)
from labelfactory.store.limit import is_on
from labelfactory.store.sharing import hold_to_limit, share

CHECK_EVERY = 10**9
"""Bytes that a run leaves to the store alone before it looks again how much that holds."""
Name = tuple[str, str]
"""Image and key of a row."""
Place = tuple[Path, str]
"""The entry that a row is in, and the row's digest."""


class KeptRows:
    """The kept rows of one stage.

    Args:
        noun: the output that it writes.
        schema: of its shards.
        compression: of its shards, by its name in params.yaml.

    Raises:
        UserError: $LABELFACTORY_STORE_GB is not a number.
    """

    def __init__(self, noun: str, schema: pa.Schema, compression: str) -> None:
        self._noun, self._schema, self._compression = noun, schema, compression
        self._is_on, self._unchecked = is_on(), 0
        self._index: tuple[int, dict[Name, Place]] | None = None

    def digests(self, shard: int) -> Mapping[Name, str]:
        """Every usable row of a shard: image and key → digest, which is not checked."""
        return {name: digest for name, (_, digest) in self._places(shard).items()}

    def has(self, shard: int, image_id: str, key: str) -> bool:
        """Whether there is such a row."""
        return (image_id, key) in self._places(shard)

    def rows(self, shard: int, wanted: Mapping[str, str]) -> dict[str, FinishedRow]:
        """Rows of a shard, each checked against its digest: image_id → row. Those that are not kept are left out.

        Args:
            shard: its number.
            wanted: image_id → key.
        """
        by_place: dict[Path, set[Name]] = {}
        for name in wanted.items():
            if name in self._places(shard):
                by_place.setdefault(self._places(shard)[name][0], set()).add(name)
        rows: dict[str, FinishedRow] = {}
        for place, sought in by_place.items():
            intact = _checked(place, self._schema)
            rows |= {row.image_id: row for row in intact if (row.image_id, row.key) in sought}
            use(place)
            if not sought <= {(row.image_id, row.key) for row in intact}:
                say(f"{place}: damaged: not used, removed")
                remove(place)
                self._index = None
        return rows

    def keep(self, shard: int, path: Path, table: pa.Table, *, replaced: bool = False) -> None:
        """Keep a shard as it is on the disk, unless it is kept or shows withdrawn images.

        Args:
            shard: its number.
            path: its file.
            table: its rows.
            replaced: it is about to be replaced, and other versions stay as they are.
        """
        if not self._is_on or self._has_withdrawn(table):
            return
        name = _name(path.stem, table, self._compression)
        place = folder_of(self._noun, name)
        if holds(place, [path]):
            use(place)
        else:
            keep(self._noun, name, lambda folder: link(path, folder / path.name))
            self._listed.setdefault(shard, set()).add(name)
            self._index = None
        if not replaced:
            self._thin(shard, name, _usable(table))
            return
        share(place)
        self._unchecked += path.stat().st_size  # which the store may hold alone from now on
        if self._unchecked > CHECK_EVERY:
            self._unchecked = 0
            hold_to_limit()

    def _places(self, shard: int) -> dict[Name, Place]:
        """Where each row of a shard is kept; the last that was looked at is remembered."""
        if self._index is None or self._index[0] != shard:
            places = reversed(self._versions(shard)) if self._is_on else ()
            self._index = (
                shard,
                {name: (place, digest) for place in places for name, digest in _usable_in(place).items()},
            )
        return self._index[1]

    def _versions(self, shard: int) -> list[Path]:
        """The entries with rows of a shard, last used first."""
        return last_used_first(folder_of(self._noun, name) for name in self._listed.get(shard, ()))

    @cached_property
    def _listed(self) -> dict[int, set[str]]:
        """Names of entries by shard, listed once: there may be many shards."""
        listed: dict[int, set[str]] = {}
        for name in names(self._noun):
            if (number := name.partition(".")[0].removeprefix("shard-")).isdigit():
                listed.setdefault(int(number), set()).add(name)
        return listed

    def _thin(self, shard: int, newest: str, present: Collection[Name]) -> None:
        """Of the other versions of a shard, keep only what the newest does not have, where that saves half of them."""
        for place in self._versions(shard):
            usable = _usable_in(place) if place.name != newest else {}
            rest = usable.keys() - present
            if place.name != newest and len(rest) <= len(usable) // 2:
                reduced = _reduce(place, rest)
                self._listed[shard] |= {reduced} if reduced else set()

    def _has_withdrawn(self, table: pa.Table) -> bool:
        if not self._withdrawn.photographs and not self._withdrawn.image_ids:
            return False
        return any(self._withdrawn.refuses(*image) for image in _images(table))

    @cached_property
    def _withdrawn(self) -> Withdrawn:
        return withdrawn(keep=False)


def forget_rows(is_gone: Callable[[str, str], bool]) -> None:
    """Remove rows from the store; the others of their shards stay.

    Args:
        is_gone: whether the row of an image goes, by its id and the digest of its photograph.
    """
    for place in [entry.path for entry in entries() if _file(entry.path).exists()]:
        try:
            table = pq.read_table(_file(place), columns=["image_id", "key", "inputs"], partitioning=None)
            stays = {name for name, image in zip(_names(table), _images(table), strict=True) if not is_gone(*image)}
        except Exception:  # damaged: what it shows is not known
            remove(place)
            continue
        if len(stays) < table.num_rows:
            _reduce(place, stays)


def _reduce(place: Path, stays: Collection[Name]) -> str:
    """Replace an entry by one with some of its rows, and give its name; with none, or where it is damaged, it goes."""
    name = ""
    try:
        used = place.stat().st_mtime
        table = pq.read_table(_file(place), partitioning=None, page_checksum_verification=True)
        table = table.filter(pa.array([name in stays for name in _names(table)], pa.bool_()))
    except Exception:
        table = None
    if table is not None and table.num_rows:
        name = _name(_file(place).stem, table, "zstd")
        keep(
            place.parent.name,
            name,
            lambda folder: write_table(folder / _file(place).name, table, "zstd"),
            used=used,
        )
    remove(place)
    return name


def _checked(place: Path, schema: pa.Schema) -> list[FinishedRow]:
    try:
        return intact_rows(pq.read_table(_file(place), partitioning=None, page_checksum_verification=True), schema)
    except Exception:  # damaged bytes fail in any way
        return []


def _usable_in(place: Path) -> dict[Name, str]:
    """The usable rows of an entry, as `_usable`; none where it is damaged or gone."""
    columns = list(STATE_COLUMNS)
    try:
        return _usable(pq.read_table(_file(place), columns=columns, partitioning=None, page_checksum_verification=True))
    except Exception:
        return {}


def _usable(table: pa.Table) -> dict[Name, str]:
    """Image and key → digest."""
    digests, status = (table.column(name).to_pylist() for name in ("digest", "status"))
    return {name: d for name, d, s in zip(_names(table), digests, status, strict=True) if s == "ok"}


def _names(table: pa.Table) -> list[Name]:
    return list(zip(table.column("image_id").to_pylist(), table.column("key").to_pylist(), strict=True))


def _images(table: pa.Table) -> list[tuple[str, str]]:
    """Id and digest of the photograph of each row."""
    inputs = (json.loads(text).get("image", "") for text in table.column("inputs").to_pylist())
    return list(zip(table.column("image_id").to_pylist(), inputs, strict=True))


def _name(shard: str, table: pa.Table, compression: str) -> str:
    states = table.select(list(STATE_COLUMNS)).to_pylist()
    return f"{shard}.{digest_json([compression, states])[:32]}"


def _file(place: Path) -> Path:
    """The rows of an entry."""
    return place / f"{place.name.partition('.')[0]}.parquet"
