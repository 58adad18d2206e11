"""The import manifest, written by every importer and read by `prepare`.

data/import/manifest.parquet, one row per photograph, in the order of `position`:
    image_id    string, unique and permanent
    path        string, relative to the project's root if inside, else absolute
    sha256      string, of the file's bytes
    lists       list<string>, ascending: its lists (train, train_aug, val, …)
    tags        list<string>, ascending class names; empty is a legal negative
    mask_path   string or null: the true mask, if there is one. Opened by `labelfactory.dataset.truth` alone.
    mask_sha256 string or null
    position    int64: assigned once, never changed; 256 positions per shard. A removed image leaves a gap.
    width, height   int32, pixels, upright (EXIF applied), as the import measured them; 0: not measured
Schema metadata `labelfactory` (JSON): format, source (the command that wrote it), classes (names in order),
    mask_ids (pixel value in the true masks → class id; every other value is void).
Format 1 has no width and height: they are read as 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.dataset.tables import check_columns, check_format, check_head, read_columns, write_table
from labelfactory.errors import DataError, MissingError
from labelfactory.schema import Classes

MANIFEST = Path("data/import/manifest.parquet")
FORMAT = 2
IMPORT_AGAIN = "Import the photographs again."
MEASURED = ("width", "height")
"""Columns that format 1 lacks."""
LARGEST_NUMBER = 2**31 - 1
"""Of positions and sides."""

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("lists", pa.list_(pa.string()), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
        pa.field("mask_path", pa.string()),
        pa.field("mask_sha256", pa.string()),
        pa.field("position", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Entry:
    """One photograph of an import; fields as in the module's table."""

    image_id: str
    path: str
    sha256: str
    lists: tuple[str, ...]
    tags: tuple[str, ...]
    mask_path: str | None = None
    mask_sha256: str | None = None
    position: int = -1
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Manifest:
    """All photographs of an import, the classes, and their values in the true masks."""

    classes: Classes
    mask_ids: dict[int, int]
    source: str
    entries: tuple[Entry, ...]

    def numbered(self) -> "Manifest":
        """Assign a position after the last one to each entry without one (-1)."""
        following = max((e.position for e in self.entries), default=-1) + 1
        entries = []
        for entry in self.entries:
            if entry.position < 0:
                entry, following = replace(entry, position=following), following + 1
            entries.append(entry)
        return replace(self, entries=tuple(entries))

    def is_numbered_as(self, new: "Manifest") -> bool:
        """Whether the true masks of another import have the same values for the classes of this one."""
        more = {value: class_id for value, class_id in new.mask_ids.items() if value not in self.mask_ids}
        return self.mask_ids.items() <= new.mask_ids.items() and not set(more.values()) & set(self.mask_ids.values())

    def appended(self, new: "Manifest") -> "Manifest":
        """Append the images of `new` whose ids are new. Present entries stay unchanged; classes may follow those here.

        Raises:
            DataError: the classes or their values in the true masks differ.
        """
        if new.classes.names[: len(self.classes)] != self.classes.names:
            raise DataError(
                f"the import has the classes {', '.join(new.classes.names)}; this data set has "
                f"{', '.join(self.classes.names)}",
                "Import with --append --classes and the classes that are to follow, or with --replace to start anew.",
            )
        if not self.is_numbered_as(new):
            raise DataError(
                "the true masks of the two imports number their classes differently",
                "Give the same --rename as in the first import, or import with --replace to start anew.",
            )
        known = {e.image_id for e in self.entries}
        fresh = tuple(replace(e, position=-1) for e in new.entries if e.image_id not in known)
        return replace(self, classes=new.classes, mask_ids=new.mask_ids, entries=self.entries + fresh).numbered()


def same_bytes(entries: Sequence[Entry], train: str, val: str) -> list[tuple[Entry, ...]]:
    """Groups of photographs of the same bytes of which one is on the list `train` and one on `val`.

    Empty if both names are the same list. Entries without a digest are ignored.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.sha256:
            groups.setdefault(entry.sha256, []).append(entry)
    on_both = [g for g in groups.values() if {train, val} <= {name for e in g for name in e.lists}]
    return [tuple(group) for group in on_both] if train != val else []


def write_manifest(manifest: Manifest, path: Path = MANIFEST, *, before: Callable[[str], None] | None = None) -> None:
    """Write the manifest atomically. The same manifest gives the same bytes. `before`: as for `write_table`."""
    rows = sorted(manifest.numbered().entries, key=lambda e: e.position)
    meta = {
        "format": FORMAT,
        "source": manifest.source,
        "classes": list(manifest.classes.names),
        "mask_ids": {str(k): v for k, v in sorted(manifest.mask_ids.items())},
    }
    write_table(path, rows, SCHEMA, meta, before=before)


def with_truth(name: str, path: Path = MANIFEST) -> bool:
    """Whether a photograph on the list has a true mask whose file exists. No mask is opened.

    Raises:
        DataError: the manifest is damaged.
    """
    table = _columns(path, "lists", "mask_path")
    rows = zip(table["lists"].to_pylist(), table["mask_path"].to_pylist(), strict=True)
    return any(mask is not None and name in lists and Path(mask).exists() for lists, mask in rows)


def lists_of(path: Path = MANIFEST) -> set[str]:
    """Names of the lists of all photographs, from one column. Raises as `read_manifest`."""
    _check_there(path)
    return set(pc.unique(pc.list_flatten(_columns(path, "lists")["lists"].combine_chunks())).to_pylist())


def imported_classes(path: Path = MANIFEST) -> Classes:
    """The classes of the import, from its header alone. Raises as `read_manifest`."""
    _check_there(path)
    meta = read_columns(path, [], remedy=IMPORT_AGAIN)[1]
    check_format(path, meta, FORMAT)
    return read_classes(path, meta, remedy=IMPORT_AGAIN)[0]


def _check_there(path: Path) -> None:
    if not path.exists():
        raise MissingError(
            f"{path}: nothing was imported yet",
            "Type `labelfactory import demo`, or `labelfactory import --help` for photographs of your own.",
        )


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Read the manifest.

    Raises:
        MissingError: nothing was imported yet.
        DataError: damaged, or written by a newer labelfactory.
    """
    _check_there(path)
    table, meta = read_columns(path, None, remedy=IMPORT_AGAIN)
    check_format(path, meta, FORMAT)
    expected = SCHEMA if meta["format"] > 1 else pa.schema([field for field in SCHEMA if field.name not in MEASURED])
    check_columns(path, table, expected, remedy=IMPORT_AGAIN)
    check_head(path, meta, remedy=IMPORT_AGAIN, source=str)
    classes, mask_ids = read_classes(path, meta, remedy=IMPORT_AGAIN)
    for name in ("position", *MEASURED):
        if name in table.column_names and not _in_range(table[name]):
            raise DataError(f"{path}: a {name} is not between 0 and {LARGEST_NUMBER}", IMPORT_AGAIN)
    entries = (Entry(**{**row, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])}) for row in table.to_pylist())
    return Manifest(classes, mask_ids, meta["source"], tuple(entries))


def read_classes(path: Path, head: Mapping[str, Any], *, remedy: str) -> tuple[Classes, dict[int, int]]:
    """The classes in a head, and the class id of each value in the true masks.

    Raises:
        DataError: they are not what `write_manifest` writes.
    """
    check_head(path, head, remedy=remedy, classes=list, mask_ids=dict)
    numbers = {str(number) for number in range(256)}
    if not all(isinstance(name, str) for name in head["classes"]):
        raise DataError(f"{path}: a class in its header is not a name", remedy)
    if not all(k in numbers and type(v) is int and str(v) in numbers for k, v in head["mask_ids"].items()):
        raise DataError(f"{path}: the mask_ids in its header are not numbers between 0 and 255", remedy)
    return Classes(tuple(head["classes"])), {int(k): v for k, v in head["mask_ids"].items()}


def _columns(path: Path, *names: str) -> pa.Table:
    table, meta = read_columns(path, names, remedy=IMPORT_AGAIN)
    check_format(path, meta, FORMAT)
    return check_columns(path, table, pa.schema([SCHEMA.field(name) for name in names]), remedy=IMPORT_AGAIN)


def _in_range(column: pa.ChunkedArray) -> bool:
    bounds = pc.min_max(column).as_py()
    return bounds["min"] is None or (bounds["min"] >= 0 and bounds["max"] <= LARGEST_NUMBER)
