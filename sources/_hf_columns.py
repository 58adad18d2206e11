"""The roles of the columns of one file of a Hugging Face dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from labelfactory.errors import DataError, did_you_mean
from sources._hf_piece import Piece
from sources._hf_tags import TagColumn
from sources._names import BACKGROUND_NAME
from sources._table_columns import COLUMNS

IMAGE_COLUMNS = ("image", "img", "photo", "photograph", "pixel_values", "picture", "jpg", "png")
MASK_COLUMNS = (
    "mask",
    "masks",
    "segmentation",
    "segmentation_mask",
    "annotation",
    "label",
    "labels",
    "label_image",
    "seg",
)
"""Names of true masks among columns of images: `label` in sets for segmentation."""
TAG_COLUMNS = ("category", "categories", "cls", "target")
ID_COLUMNS = ("image_id", "id")
OBJECTS = ("objects", "annotations")
"""Columns of objects with boxes, whose classes are tags if there is no other tag column."""


@dataclass(frozen=True)
class DatasetColumns:
    """The roles of a piece's columns."""

    image: str
    tags: tuple[TagColumn, ...]
    mask: str  # empty without one
    ids: tuple[str, ...]
    others: tuple[str, ...]  # lists of a row

    @classmethod
    def of(cls, piece: Piece, tag_columns: Sequence[str], *, tags_from_masks: bool = False) -> "DatasetColumns":
        """From a piece's schema and the tag columns that the user named; none if the tags are those of the masks.

        Raises:
            DataError: damaged, without an image or tag column, or with classes that have no names.
        """
        schema = piece.schema()
        if len(set(schema.names)) != len(schema.names):
            raise DataError(f"{piece.path}: two columns have the same name", "Save the dataset again.")
        features = piece.features()
        images = [name for name in schema.names if _is_image(features.get(name), schema.field(name).type)]
        image = _image_column(piece, schema, images)
        mask = next((name for name in MASK_COLUMNS if name in images and name != image), "")
        if tags_from_masks and not mask:
            raise DataError(
                f"{piece.path}: has no column of masks ({', '.join(schema.names)})",
                "Type it without --tags-from-masks.",
            )
        names = [] if tags_from_masks else _tag_names(piece, schema, images, tag_columns, mask)
        return cls(
            image,
            tuple(TagColumn.of(name, piece, named=bool(tag_columns)) for name in names),
            mask,
            tuple(name for name in ID_COLUMNS if name in schema.names and name not in images),
            tuple(name for name in ("lists",) if name in schema.names),
        )

    def described(self) -> list[str]:
        """Columns that are read of each row, beside its pixels."""
        return list(dict.fromkeys((*self.ids, *self.others, *(tag.column for tag in self.tags))))

    def fitted(self, rows: Sequence[Mapping[str, Any]]) -> "DatasetColumns":
        """The columns, after a look at all their cells."""
        alone = len(self.tags) == 1
        return replace(
            self, tags=tuple(tag.fitted([row.get(tag.column) for row in rows], alone=alone) for tag in self.tags)
        )

    def classes(self, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Names that the columns state, in their order."""
        names = (name for tag in self.tags for name in tag.numbered([row.get(tag.column) for row in rows]))
        return tuple(dict.fromkeys(name for name in names if name != BACKGROUND_NAME))

    def tags_of(self, row: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Tags of one row; None if a cell is not readable as tags."""
        cells = [tag.tags(row[tag.column]) for tag in self.tags]
        if None in cells:
            return None
        return tuple(dict.fromkeys(tag for cell in cells for tag in cell or ()))


def _image_column(piece: Piece, schema: pa.Schema, images: Sequence[str]) -> str:
    for name in (*IMAGE_COLUMNS, *(name for name in images if name not in MASK_COLUMNS)):
        if name in images:
            return name
    raise DataError(f"{piece.path}: has no image column ({', '.join(schema.names)})", "Save one of type Image.")


def _is_image(feature: Any, kind: pa.DataType) -> bool:
    if isinstance(feature, dict) and feature.get("_type") == "Image":
        return True
    return bool(pa.types.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"})


def _is_label(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel"


def _tag_names(piece: Piece, schema: pa.Schema, images: Sequence[str], wanted: Sequence[str], mask: str) -> list[str]:
    for name in wanted:
        if name not in schema.names:
            raise DataError(
                f"{piece.path}: there is no column {name!r}{did_you_mean(name, schema.names)}",
                "Correct --tag-columns.",
            )
        if name in images:
            raise DataError(f"{piece.path}: {name!r} is a column of images", "Name another one with --tag-columns.")
    usual = [name for name in (*COLUMNS["tags"], *TAG_COLUMNS, *OBJECTS) if name in schema.names and name not in images]
    labels = [name for name, feature in piece.features().items() if name in schema.names and _is_label(feature)]
    usual += labels if len(labels) == 1 else []
    if not wanted and not usual:
        remedy = "Name them with --tag-columns a,b"
        masks = f", or take the tags from the masks in {mask!r} with --tags-from-masks" if mask else ""
        raise DataError(f"{piece.path}: has no tag column ({', '.join(schema.names)})", f"{remedy}{masks}.")
    return list(wanted) or usual[:1]
