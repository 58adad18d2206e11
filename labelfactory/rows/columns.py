"""What a row of a shard may hold, and how each kind of value is stored in Parquet.

Arrays   struct<shape: list<int32>, data: binary>, little-endian, C order; the dtype is in the shard's header
Masks    struct<bytes: binary, path: string>: a palette PNG, in the form that Hugging Face `datasets` reads as an image
Numbers  a plain column
Text     a plain column
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from labelfactory.dataset.images import decode_mask, encode_mask
from labelfactory.errors import ShapeError


class Column(Protocol):
    """One kind of value: its Parquet type, and the conversion to it and back."""

    @property
    def dtype(self) -> str:
        """Name of the values' numpy dtype."""

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column in Parquet."""

    def encode(self, value: Any, image_id: str) -> Any:
        """Convert a value to what Parquet stores."""

    def decode(self, stored: Any) -> Any:
        """Convert what Parquet stores to the value."""


@dataclass(frozen=True)
class ArrayColumn:
    """A numpy array of one dtype and any shape."""

    dtype: str

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column in Parquet."""
        # "element" is Parquet's own name: a table has the same schema before it is written and after it is read
        return pa.struct([("shape", pa.list_(pa.field("element", pa.int32()))), ("data", pa.binary())])

    def encode(self, value: Any, image_id: str) -> Any:
        """Raises ShapeError when the dtype is not the column's."""
        array = np.asarray(value)
        if array.dtype != np.dtype(self.dtype):
            raise ShapeError(f"{image_id}: {array.dtype} in a column of {self.dtype}")
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        return {"shape": list(array.shape), "data": little.tobytes()}

    def decode(self, stored: Any) -> Any:
        """A writable array."""
        dtype = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(stored["data"], dtype=dtype).reshape(stored["shape"]).astype(self.dtype)


@dataclass(frozen=True)
class MaskColumn:
    """A mask of class ids, [H, W] uint8, 255 void."""

    dtype: str = "uint8"

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column in Parquet."""
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def encode(self, value: Any, image_id: str) -> Any:
        """Raises ShapeError when the value is not an [H, W] uint8 array."""
        if value.dtype != np.uint8 or value.ndim != 2:
            raise ShapeError(f"{image_id}: a mask must be [H, W] uint8, not {value.dtype} {value.shape}")
        return {"bytes": encode_mask(value), "path": None}

    def decode(self, stored: Any) -> Any:
        """[H, W] uint8."""
        return decode_mask(stored["bytes"])


@dataclass(frozen=True)
class NumberColumn:
    """One number, float32 or int64."""

    dtype: str = "float32"

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column in Parquet."""
        return pa.from_numpy_dtype(np.dtype(self.dtype))

    def encode(self, value: Any, image_id: str) -> Any:
        """A Python number, rounded to the column's precision."""
        return np.dtype(self.dtype).type(value).item()

    def decode(self, stored: Any) -> Any:
        """A numpy scalar of the column's dtype."""
        return np.dtype(self.dtype).type(stored)


@dataclass(frozen=True)
class TextColumn:
    """A short text."""

    dtype: str = "str"

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the column in Parquet."""
        return pa.string()

    def encode(self, value: Any, image_id: str) -> Any:
        """Raises ShapeError when the value is not text."""
        if not isinstance(value, str):
            raise ShapeError(f"{image_id}: {type(value).__name__} in a column of text")
        return value

    def decode(self, stored: Any) -> Any:
        """The text."""
        return stored


KINDS: dict[str, type[ArrayColumn] | type[MaskColumn] | type[NumberColumn] | type[TextColumn]] = {
    "array": ArrayColumn,
    "mask": MaskColumn,
    "number": NumberColumn,
    "text": TextColumn,
}


def describe(columns: Mapping[str, Column]) -> dict[str, dict[str, str]]:
    """Kind and dtype of each column, JSON: in a shard's header, so that a shard can be read on its own."""
    names = {kind: name for name, kind in KINDS.items()}
    return {name: {"kind": names[type(c)], "dtype": c.dtype} for name, c in columns.items()}  # type: ignore[index]


def from_description(described: Mapping[str, Mapping[str, str]]) -> dict[str, Column]:
    """The columns that `describe` wrote."""
    return {name: KINDS[d["kind"]](d["dtype"]) for name, d in described.items()}
