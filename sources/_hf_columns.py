"""One file of a Hugging Face dataset, and the roles of its columns."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfactory.errors import DataError, did_you_mean
from labelfactory.foreign_files import FileRefusedError, check_regular
from sources._cells import tags_of_cell
from sources._table_columns import COLUMNS

IMAGE_COLUMNS = ("image", "img", "photo", "photograph")
MASK = "mask"


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
            check_regular(self.path)
            if self.path.suffix == ".parquet":
                return parquet()
            with pa.memory_map(str(self.path)) as source:
                return arrow(pa.ipc.open_stream(source))
        except FileRefusedError as error:
            raise DataError(f"{self.path}: damaged: {error.reason}", "Save the dataset again.") from None
        except (OSError, pa.ArrowException, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{self.path}: damaged: {reason}", "Save the dataset again.") from None


def _features(schema: pa.Schema) -> dict[str, Any]:
    """The features that the dataset states for its columns; empty if it states none."""
    stated = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stated)["info"]["features"] if stated else {}
    except (ValueError, KeyError, TypeError, RecursionError):  # a header of another form: the columns' types decide
        return {}
    return features if isinstance(features, dict) else {}


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
                "Correct --tag-columns.",
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
    def of(cls, name: str, piece: Piece, schema: pa.Schema, features: dict[str, Any]) -> "_TagColumn":
        """A tag column by its feature and its type.

        Raises:
            DataError: its ClassLabel names something other than texts.
        """
        feature = features.get(name)
        while (isinstance(feature, list) and feature) or (isinstance(feature, dict) and "feature" in feature):
            feature = feature[0] if isinstance(feature, list) else feature["feature"]
        stated = (feature.get("names") if isinstance(feature, dict) else None) or []
        if not isinstance(stated, list) or not all(isinstance(text, str) for text in stated):
            raise DataError(
                f"{piece.path}: the names of the ClassLabel {name!r} are not texts: {str(stated)[:80]}",
                "Save the dataset again, with a text for each class.",
            )
        names = tuple(stated)
        kind = schema.field(name).type
        numeric = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return cls(name, names or ((name,) if numeric else ()), numeric and not names)

    def tags(self, cell: Any) -> tuple[str, ...] | None:
        """Tags of one cell; None if it is not readable as tags."""
        if self.flag:
            return (self.column,) if cell and cell == cell else ()  # NaN is an empty cell
        if self.names and not isinstance(cell, str):
            numbers = cell if isinstance(cell, list) else [] if cell is None else [cell]
            if any(type(n) is not int or not -1 <= n < len(self.names) for n in numbers):
                return None
            return tuple(self.names[n] for n in numbers if n >= 0 and self.names[n] != "background")
        return tags_of_cell(cell)


@dataclass(frozen=True)
class DatasetColumns:
    """The roles of a piece's columns."""

    image: str
    tags: tuple[_TagColumn, ...]
    mask: bool
    others: tuple[str, ...]  # id and lists of a row

    @classmethod
    def of(cls, piece: Piece, tag_columns: Sequence[str]) -> "DatasetColumns":
        """From a piece's schema and the tag columns that the user named.

        Raises:
            DataError: damaged, without an image or tag column, or with classes that have no names.
        """
        schema = piece.schema()
        if len(set(schema.names)) != len(schema.names):
            raise DataError(f"{piece.path}: two columns have the same name", "Save the dataset again.")
        features = _features(schema)
        image = _image_column(piece, schema, features)
        tags = tuple(_TagColumn.of(name, piece, schema, features) for name in _tag_names(piece, schema, tag_columns))
        others = tuple(name for name in ("image_id", "id", "lists") if name in schema.names)
        return cls(image, tags, MASK in schema.names and image != MASK, others)

    def described(self) -> list[str]:
        """Columns that are read of each row, beside its pixels."""
        return list(dict.fromkeys((*self.others, *(tag.column for tag in self.tags))))

    def classes(self) -> tuple[str, ...]:
        """Names that the columns state, in their order."""
        return tuple(dict.fromkeys(name for tag in self.tags for name in tag.names if name != "background"))

    def tags_of(self, row: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Tags of one row; None if a cell is not readable as tags."""
        cells = [tag.tags(row[tag.column]) for tag in self.tags]
        if None in cells:
            return None
        return tuple(dict.fromkeys(tag for cell in cells for tag in cell or ()))
