"""A tag column of a Hugging Face dataset: what its cells say about a photograph."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from labelfactory.errors import DataError
from sources._cells import tags_of_cell
from sources._hf_piece import Piece
from sources._names import BACKGROUND_NAME
from sources._table_columns import COLUMNS

NO_LABEL = (-1, -100)
"""Numbers of no class: of `datasets` for a hidden label, and of PyTorch for one to be ignored."""
CATEGORIES = ("category", "categories", "category_id", "label", "labels", "class", "classes", "name")
"""Fields of an object in a column of objects, as detection sets have it."""


@dataclass(frozen=True)
class TagColumn:
    """A column, and how its cells are read."""

    column: str
    names: tuple[str, ...] = ()  # of its ClassLabel, if it is one
    form: str = (
        "text"  # text; number (of a class); flag (0 or 1, the column's name is the tag); hot (a 0 or 1 for each class)
    )
    inner: str = ""  # the field of each object that is its class
    is_usual: bool = True  # named by the user, or as tags usually are: its ClassLabel names the values of masks too

    @property
    def is_unnamed(self) -> bool:
        """Whether its classes are numbers without names."""
        return self.form in ("number", "hot") and not self.names

    @classmethod
    def of(cls, name: str, piece: Piece, *, named: bool) -> "TagColumn":
        """A tag column by its feature and its type.

        Args:
            name: of the column.
            piece: the file.
            named: by the user; its numbers without names then say if the column's name is a tag.

        Raises:
            DataError: its ClassLabel names something other than texts.
        """
        feature, kind, inner = _plain(piece.features().get(name)), piece.schema().field(name).type, ""
        is_list = _is_list(kind)
        while _is_list(kind):
            kind = kind.value_type
        if pa.types.is_struct(kind):
            fields = [field.name for field in kind]
            inner = next((field for field in CATEGORIES if field in fields), "")
            if inner:
                kind = kind.field(inner).type
                feature = _plain(feature.get(inner)) if isinstance(feature, dict) else None
                while _is_list(kind):
                    kind = kind.value_type
        stated = (feature.get("names") if isinstance(feature, dict) else None) or []
        if not isinstance(stated, list) or not all(isinstance(text, str) for text in stated):
            raise DataError(
                f"{piece.path}: the names of the ClassLabel {name!r} are not texts: {str(stated)[:80]}",
                "Save the dataset again, with a text for each class.",
            )
        numeric = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if numeric and not stated and not is_list and not inner and (named or pa.types.is_boolean(kind)):
            return cls(name, (name,), "flag")
        usual = named or bool(inner) or name in COLUMNS["tags"]
        return cls(name, tuple(stated), "number" if numeric or stated else "text", inner, usual)

    def fitted(self, cells: Sequence[Any], *, alone: bool) -> "TagColumn":
        """The column, read as its cells in all files demand.

        A list of 0 and 1 for each class would as numbers name a class twice; a 7 is no flag but the number of a class.

        Args:
            cells: of all rows.
            alone: whether it is the only tag column.
        """
        if self.form == "flag" and alone and any(type(n) is int and not 0 <= n <= 1 for n in cells):
            return replace(self, names=(), form="number")
        if self.form != "number" or self.inner:
            return self
        lists = [cell for cell in cells if cell is not None]
        lengths = {len(cell) if isinstance(cell, list) else -1 for cell in lists}
        if len(lengths) != 1 or (width := lengths.pop()) < 2 or (self.names and width != len(self.names)):
            return self
        hot = all(type(n) in (int, float, bool) and n in (0, 1) for cell in lists for n in cell)
        return replace(self, form="hot") if hot and any(len(set(cell)) < len(cell) for cell in lists) else self

    def numbered(self, cells: Iterable[Any]) -> tuple[str, ...]:
        """Names of the classes: those of the ClassLabel, else the numbers that occur, where numbers have no names."""
        if self.names or self.form not in ("number", "hot"):
            return self.names
        if self.form == "hot":
            return tuple(str(k) for k in range(max((len(c) for c in cells if c is not None), default=0)))
        numbers = {n for cell in cells for n in self._values(cell) if type(n) is int and n not in NO_LABEL}
        return tuple(map(str, sorted(numbers)))

    def tags(self, cell: Any) -> tuple[str, ...] | None:
        """Tags of one cell; None if it is not readable as tags."""
        if self.form == "flag":
            return (self.column,) if cell and cell == cell else ()  # NaN is an empty cell
        if self.form == "hot":
            hot = [k for k, n in enumerate(cell or ()) if n]
            return tuple(name for k in hot if (name := self.names[k] if self.names else str(k)) != BACKGROUND_NAME)
        if self.form == "number" and not isinstance(cell, str):
            return self._by_number(list(self._values(cell)))
        return tags_of_cell(list(self._values(cell)) if self.inner else cell)

    def _values(self, cell: Any) -> Iterator[Any]:
        """The values of a cell, which holds one, a list of them, or objects with a field of them."""
        if self.inner and isinstance(cell, dict):
            yield from self._values_of(cell.get(self.inner))
        elif self.inner and isinstance(cell, list):
            for item in cell:
                yield from self._values(item)
        else:
            yield from self._values_of(cell)

    def _values_of(self, cell: Any) -> list[Any]:
        return cell if isinstance(cell, list) else [] if cell is None or cell != cell else [cell]

    def _by_number(self, numbers: list[Any]) -> tuple[str, ...] | None:
        numbers = [int(n) if not self.names and type(n) is float and n.is_integer() else n for n in numbers]
        if any(type(n) is not int for n in numbers):
            return None
        numbers = [n for n in numbers if n not in NO_LABEL]
        if not self.names:
            return tuple(dict.fromkeys(map(str, numbers)))
        if any(not 0 <= n < len(self.names) for n in numbers):
            return None
        return tuple(dict.fromkeys(self.names[n] for n in numbers if self.names[n] != BACKGROUND_NAME))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _plain(feature: Any) -> Any:
    """The feature of the values of a list."""
    while (isinstance(feature, list) and feature) or (isinstance(feature, dict) and "feature" in feature):
        feature = feature[0] if isinstance(feature, list) else feature["feature"]
    return feature
