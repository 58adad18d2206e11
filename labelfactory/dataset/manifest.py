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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from labelfactory.dataset.tables import check_format, read_columns, read_table, write_table
from labelfactory.errors import DataError, MissingError
from labelfactory.schema import Classes

MANIFEST = Path("data/import/manifest.parquet")
FORMAT = 2
IMPORT_AGAIN = "Import the photographs again."

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

    def appended(self, new: "Manifest") -> "Manifest":
        """Append the images of `new` whose ids are new. Present entries stay unchanged.

        Raises:
            DataError: the classes or their values in the true masks differ.
        """
        if new.classes != self.classes:
            raise DataError(
                f"the import has the classes {', '.join(new.classes.names)}; this data set has "
                f"{', '.join(self.classes.names)}",
                "Import with the same --classes, or without --append to start anew.",
            )
        if new.mask_ids != self.mask_ids:
            raise DataError(
                "the true masks of the two imports number their classes differently",
                "Give the same --rename as in the first import, or import without --append to start anew.",
            )
        known = {e.image_id for e in self.entries}
        fresh = tuple(replace(e, position=-1) for e in new.entries if e.image_id not in known)
        return replace(self, entries=self.entries + fresh).numbered()


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


def write_manifest(manifest: Manifest, path: Path = MANIFEST) -> None:
    """Write the manifest atomically. The same manifest gives the same bytes."""
    rows = sorted(manifest.numbered().entries, key=lambda e: e.position)
    meta = {
        "format": FORMAT,
        "source": manifest.source,
        "classes": list(manifest.classes.names),
        "mask_ids": {str(k): v for k, v in sorted(manifest.mask_ids.items())},
    }
    write_table(path, rows, SCHEMA, meta)


def with_truth(name: str, path: Path = MANIFEST) -> bool:
    """Whether a photograph on the list has a true mask whose file exists. No mask is opened.

    Raises:
        DataError: the manifest is damaged.
    """
    table, _ = read_columns(path, ["lists", "mask_path"], remedy=IMPORT_AGAIN)
    rows = zip(table["lists"].to_pylist(), table["mask_path"].to_pylist(), strict=True)
    return any(mask is not None and name in lists and Path(mask).exists() for lists, mask in rows)


def lists_of(path: Path = MANIFEST) -> set[str]:
    """Names of the lists of all photographs, from one column. Raises as `read_manifest`."""
    _check_there(path)
    table, meta = read_columns(path, ["lists"], remedy=IMPORT_AGAIN)
    check_format(path, meta, FORMAT)
    return set(pc.unique(pc.list_flatten(table["lists"].combine_chunks())).to_pylist())


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
    rows, meta = read_table(path, remedy=IMPORT_AGAIN)
    check_format(path, meta, FORMAT)
    entries = tuple(Entry(**{**row, "lists": tuple(row["lists"]), "tags": tuple(row["tags"])}) for row in rows)
    mask_ids = {int(k): v for k, v in meta["mask_ids"].items()}
    return Manifest(Classes(tuple(meta["classes"])), mask_ids, meta["source"], entries)
