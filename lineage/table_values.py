"""The texts and strings of bytes in a Parquet file, whatever kinds of columns they are in: records, lists, dictionaries, views."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

LISTS = (pt.is_list, pt.is_large_list, pt.is_fixed_size_list, pt.is_list_view, pt.is_large_list_view)
TEXTS = (pt.is_string, pt.is_large_string, pt.is_string_view)
BYTES = (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view)
NUMBERS = (pt.is_integer, pt.is_floating, pt.is_boolean, pt.is_decimal, pt.is_temporal, pt.is_null)
"""What holds neither text nor bytes."""
FEW, MANY = 64, 4096
"""Rows that are read at once, where they may hold pictures and where not."""


@dataclass(frozen=True)
class Leaf:
    """One kind of value in a column."""

    name: str  # of the column, or of the field in its records
    kind: pa.DataType  # behind lists, dictionaries and extensions
    in_record: bool

    @property
    def is_text(self) -> bool:
        """Whether its values are texts."""
        return _is(self.kind, TEXTS)

    @property
    def is_bytes(self) -> bool:
        """Whether they are strings of bytes."""
        return _is(self.kind, BYTES)

    @property
    def is_id(self) -> bool:
        """Whether they are ids that are written as numbers."""
        return self.name == "image_id" and bool(pt.is_integer(self.kind))

    @property
    def is_known(self) -> bool:
        """Whether it is known what they are."""
        return self.is_text or self.is_bytes or _is(self.kind, NUMBERS)


def leaves(column: pa.Field, *, in_record: bool = False) -> Iterator[Leaf]:
    """The kinds of values in a column."""
    for name, kind, inside in _inner(column.name, column.type):
        if kind is column.type:
            yield Leaf(column.name, kind, in_record)
        else:
            yield from leaves(pa.field(name, kind), in_record=in_record or inside)


def values_of(file: pq.ParquetFile, column: pa.Field) -> Iterator[tuple[Leaf, str | bytes]]:
    """The texts and strings of bytes in a column, equal ones of a part of the file once; ids written as numbers are texts.

    Raises:
        pa.ArrowException, OSError, ValueError: damaged, or of a form that cannot be read.
    """
    found = list(leaves(column))
    if any(leaf.is_text or leaf.is_bytes or leaf.is_id for leaf in found):
        rows = FEW if any(leaf.is_bytes for leaf in found) else MANY
        for batch in file.iter_batches(batch_size=rows, columns=[column.name]):
            for array in batch.columns:
                yield from _values(column.name, array, in_record=False)


def _values(name: str, array: pa.Array, *, in_record: bool) -> Iterator[tuple[Leaf, str | bytes]]:
    inner = list(_inside(name, array))
    if inner:
        for each, part, inside in inner:
            yield from _values(each, part, in_record=in_record or inside)
        return
    leaf = Leaf(name, array.type, in_record)
    if leaf.is_text or leaf.is_bytes or leaf.is_id:
        values = dict.fromkeys(value for value in array.to_pylist() if value is not None)
        yield from ((leaf, str(value) if leaf.is_id else value) for value in values)


def _inner(name: str, kind: pa.DataType) -> list[tuple[str, pa.DataType, bool]]:
    """What a kind of values is made of: name, kind, and whether it is in a record; itself where it is made of nothing else."""
    if _is(kind, LISTS) or pt.is_dictionary(kind):
        return [(name, kind.value_type, False)]
    if pt.is_struct(kind):
        return [(field.name, field.type, True) for field in kind]
    if pt.is_map(kind):
        return [(name, kind.key_type, True), (name, kind.item_type, True)]
    if isinstance(kind, pa.BaseExtensionType):
        return [(name, kind.storage_type, False)]
    return [(name, kind, False)]


def _inside(name: str, array: pa.Array) -> Iterator[tuple[str, pa.Array, bool]]:
    """The same of values."""
    kind = array.type
    if _is(kind, LISTS):
        yield name, array.flatten(), False
    elif pt.is_dictionary(kind):
        yield name, array.dictionary.take(array.indices), False  # the dictionary may be that of the whole file
    elif pt.is_struct(kind):
        yield from ((field.name, array.field(at), True) for at, field in enumerate(kind))
    elif pt.is_map(kind):
        yield from ((name, part, True) for part in (array.keys, array.items))
    elif isinstance(kind, pa.BaseExtensionType):
        yield name, array.storage, False


def _is(kind: Any, kinds: tuple[Callable[[Any], bool], ...]) -> bool:
    return any(is_kind(kind) for is_kind in kinds)
