"""A Hugging Face dataset on the disk: what `save_to_disk` wrote, or a folder of Parquet files.

    image column    image, img, photo or photograph, or the only one of its kind; bytes inside, or paths from DIR
    tag columns     tags, tag, labels, label, classes or class: text, numbers of a ClassLabel, or lists of either;
                    or, named with --tag-columns, columns of 0 and 1 whose name is the tag
    mask            read as a true mask where the tags are a ClassLabel: pixel value k is its k-th name
    image_id, id    the image id; without it the split and the row's number
    lists           the list of lists a photograph stands on, as our own export writes it; else its split

What the dataset holds inside goes to data/raw/hf/; nothing of Hugging Face's is needed to read it.
"""

import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from labelfactory.digests import digest_bytes
from labelfactory.errors import DataError, did_you_mean
from labelfactory.names import file_name
from sources._batch import RAW, Batch, Candidate
from sources._findings import Findings
from sources.folder import LISTS
from sources.table import COLUMNS, tags_of_cell

IMAGE_COLUMNS = ("image", "img", "photo", "photograph")
MASK = "mask"
HOME = RAW / "hf"


@dataclass(frozen=True)
class Piece:
    """One file of a dataset."""

    path: Path
    split: str  # empty where the dataset names none

    def schema(self) -> pa.Schema:
        """Names and types of its columns.

        Raises:
            DataError: damaged.
        """
        return self._read(lambda: pq.read_schema(self.path), lambda stream: stream.schema)

    def table(self, columns: list[str]) -> pa.Table:
        """All rows of some columns.

        Raises:
            DataError: damaged.
        """
        return self._read(
            lambda: pq.ParquetFile(self.path).read(columns), lambda stream: stream.read_all().select(columns)
        )

    def _read(self, parquet: Callable[[], Any], arrow: Callable[[Any], Any]) -> Any:
        try:
            if self.path.suffix == ".parquet":
                return parquet()
            with pa.memory_map(str(self.path)) as source:
                return arrow(pa.ipc.open_stream(source))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DataError(f"{self.path}: damaged: {str(error).splitlines()[0]}", "Save the dataset again.") from None


def find_hf(root: Path, *, tag_columns: Sequence[str] = (), list_name: str = "") -> Batch:
    """Find the photographs of a dataset.

    Args:
        root: the folder.
        tag_columns: names of the tag columns; empty to look for them.
        list_name: the list that all of them stand on, if that is decided.

    Raises:
        DataError: no dataset, or one without images or tags.
    """
    found = Findings(root)
    pieces = list(_pieces(root))
    if not pieces:
        raise DataError(
            f"{root}: holds no dataset", "Name a folder that `save_to_disk` wrote, or one of Parquet files."
        )
    candidates: list[Candidate] = []
    classes: tuple[str, ...] = ()
    masked = False
    for piece in pieces:
        columns = _Columns.of(piece, tag_columns)
        classes = classes or columns.classes()
        has_masks = columns.mask and bool(classes)
        masked = masked or has_masks
        for number, row in enumerate(piece.table(columns.described()).to_pylist()):
            image_id = str(row.get("image_id") or row.get("id") or f"{piece.split or 'row'}-{number:06d}")
            where = f"{piece.path.name}, row {number + 1}"
            tags = columns.tags_of(row)
            if tags is None:
                found.leave_out(image_id, where, "its tags are no text, list or number of a class")
                continue
            photograph = _Cell(piece, columns.image, number, root)
            stem = file_name(image_id)
            candidates.append(
                Candidate(
                    image_id=image_id,
                    path=HOME / digest_bytes(root.name.encode())[:8] / f"{stem}{photograph.suffix()}",
                    tags=tags,
                    lists=_lists(row, piece, list_name),
                    where=where,
                    mask=HOME / digest_bytes(str(root).encode())[:16] / f"masks/{stem}.png" if has_masks else None,
                    photograph_bytes=photograph.load,
                    mask_bytes=_Cell(piece, MASK, number, root).load if has_masks else None,
                )
            )
    return Batch(
        root=root,
        command=f"import hf {root}",
        names=classes,
        candidates=tuple(candidates),
        left_out=tuple(found.left_out),
        problems=tuple(found.problems),
        mask_values=dict(enumerate(classes, 1)) if masked else {},
    )


def _lists(row: dict[str, Any], piece: Piece, decided: str) -> tuple[str, ...]:
    """The lists of one row: the one that is decided, those it names, or its split."""
    named = (decided,) if decided else tuple(row.get("lists") or ())
    return named or ((piece.split,) if piece.split else ())


def _pieces(root: Path) -> Iterator[Piece]:
    """The files of a dataset, by split."""
    if (root / "dataset_dict.json").is_file():
        for split in _json(root / "dataset_dict.json").get("splits", []):
            for piece in _saved(root / split):
                yield Piece(piece, LISTS.get(split, split))
    elif (root / "state.json").is_file():
        for piece in _saved(root):
            yield Piece(piece, "")
    elif root.is_dir():
        for path in sorted(root.rglob("*.parquet")):
            split = re.match(r"[A-Za-z]+", path.name)
            name = split.group().lower() if split else ""
            yield Piece(path, LISTS.get(name, ""))


def _saved(folder: Path) -> Iterator[Path]:
    for item in _json(folder / "state.json").get("_data_files", []):
        yield folder / Path(item["filename"]).name


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable: {error}", "Save the dataset again.") from None
    return loaded


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What the dataset says of its columns; empty where it says nothing."""
    stated = (schema.metadata or {}).get(b"huggingface")
    try:
        features: dict[str, Any] = json.loads(stated)["info"]["features"] if stated else {}
    except (ValueError, KeyError, TypeError):  # a header of another make: the columns speak for themselves
        return {}
    return features


def _image_column(piece: Piece, schema: pa.Schema, features: dict[str, Any]) -> str:
    images: list[str] = [
        name for name in schema.names if _is_image(features.get(name), schema.field(name).type) and name != MASK
    ]
    for name in (*IMAGE_COLUMNS, *images):
        if name in images:
            return name
    raise DataError(f"{piece.path}: has no image column ({', '.join(schema.names)})", "Save one of type Image.")


def _is_image(feature: Any, kind: pa.DataType) -> bool:
    if isinstance(feature, dict) and feature.get("_type") == "Image":
        return True
    return bool(pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"})


def _tag_names(piece: Piece, schema: pa.Schema, wanted: Sequence[str]) -> list[str]:
    for name in wanted:
        if name not in schema.names:
            raise DataError(
                f"{piece.path}: there is no column {name!r}{did_you_mean(name, schema.names)}",
                "Mend --tag-columns.",
            )
    usual = [name for name in COLUMNS["tags"] if name in schema.names]
    if not wanted and not usual:
        raise DataError(
            f"{piece.path}: has no tag column ({', '.join(schema.names)})", "Name them with --tag-columns a,b."
        )
    return list(wanted) or usual[:1]


@dataclass(frozen=True)
class _TagColumn:
    column: str
    names: tuple[str, ...]  # of its ClassLabel, if it is one
    flag: bool  # 0 and 1, the column's name is the tag

    @classmethod
    def of(cls, name: str, schema: pa.Schema, features: dict[str, Any]) -> "_TagColumn":
        """What a column of tags says of itself."""
        feature = features.get(name)
        while isinstance(feature, list) or (isinstance(feature, dict) and "feature" in feature):
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        names = tuple(feature.get("names", ())) if isinstance(feature, dict) else ()
        kind = schema.field(name).type
        numeric = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return cls(name, names or ((name,) if numeric else ()), numeric and not names)

    def tags(self, cell: Any) -> tuple[str, ...] | None:
        """Tags of one cell; None when it is none."""
        if self.flag:
            return (self.column,) if cell else ()
        if not self.flag and self.names and not isinstance(cell, str):
            numbers = cell if isinstance(cell, list) else [] if cell is None else [cell]
            if any(not isinstance(n, int) or not -1 <= n < len(self.names) for n in numbers):
                return None
            return tuple(self.names[n] for n in numbers if n >= 0 and self.names[n] != "background")
        return tags_of_cell(cell)


@dataclass(frozen=True)
class _Columns:
    """Which column of a piece is what."""

    image: str
    tags: tuple[_TagColumn, ...]
    mask: bool
    others: tuple[str, ...]  # that describe a row

    @classmethod
    def of(cls, piece: Piece, tag_columns: Sequence[str]) -> "_Columns":
        """What a piece's own schema says, and what the user named."""
        schema = piece.schema()
        features = _features(schema)
        image = _image_column(piece, schema, features)
        tags = tuple(_TagColumn.of(name, schema, features) for name in _tag_names(piece, schema, tag_columns))
        others = tuple(name for name in ("image_id", "id", "lists") if name in schema.names)
        return cls(image, tags, MASK in schema.names and image != MASK, others)

    def described(self) -> list[str]:
        """What has to be read of each row beside its pixels."""
        return list(dict.fromkeys((*self.others, *(tag.column for tag in self.tags))))

    def classes(self) -> tuple[str, ...]:
        """Names that the columns state, in their order."""
        return tuple(dict.fromkeys(name for tag in self.tags for name in tag.names if name != "background"))

    def tags_of(self, row: dict[str, Any]) -> tuple[str, ...] | None:
        """Tags of one row; None when a cell holds none."""
        said = [tag.tags(row[tag.column]) for tag in self.tags]
        if None in said:
            return None
        return tuple(dict.fromkeys(tag for cell in said for tag in cell or ()))


@dataclass(frozen=True)
class _Cell:
    """An image of a dataset, read when it is asked for."""

    piece: Piece
    column: str
    row: int
    root: Path

    def load(self) -> bytes:
        """Its bytes."""
        cell = _column(self.piece, self.column)[self.row].as_py()
        if cell is None:
            raise DataError("there is no image in this row")
        if cell["bytes"] is not None:
            return bytes(cell["bytes"])
        path = self.root / (cell["path"] or "")
        if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(self.root)):  # noqa: PTH100
            raise DataError(f"{cell['path']!r} lies outside {self.root}")
        return path.read_bytes()

    def suffix(self) -> str:
        """By what the bytes are, since a dataset need not say."""
        try:
            with Image.open(io.BytesIO(self.load())) as opened:
                kind = opened.format or ""
        except Exception:  # looked at later, when what is wrong can be said
            kind = ""
        return {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "BMP": ".bmp"}.get(kind, ".img")


@lru_cache(maxsize=4)
def _column(piece: Piece, column: str) -> pa.ChunkedArray:
    return piece.table([column]).column(column)
